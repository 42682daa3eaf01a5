/**
 * Lint rules of this project: who owns GPU memory, and which layer may import which.
 *
 * @module
 */

/** Layers from the lowest to the highest: each may import itself and those before it. */
const LAYERS = ["std", "kernels", "nn", "models", "train", "cli"];

/** The entry points at the root see every layer, and no layer sees them. */
const ENTRY_POINTS = ["mod.ts", "cli.ts"];

/** Folders that see everything and that nothing else sees. */
const WORKSHOPS = ["tests", "bench", "tools"];

/** The only files that create GPU buffers. */
const BUFFER_OWNERS = ["pool", "profiler", "read_back", "recorder"].map((name) =>
  `kernels/${name}.ts`
);

/** What may write to the console, files and folders. */
const CONSOLE_USERS = ["cli.ts", "train/log.ts", "tools/", "bench/"];

const ROOT = new URL("..", import.meta.url);

/** Own name in deno.json, under which documentation and tests import the entry points. */
const PACKAGE = "@tessera/tessera";

/** The path of a linted file below the root, with slashes on every system. */
function pathOf(filename: string): string {
  const path = filename.replaceAll("\\", "/");
  const root = decodeURIComponent(ROOT.pathname).replace(/^\/(?=[A-Za-z]:)/, "");
  return path.startsWith(root) ? path.slice(root.length) : path.replace(/^\.?\//, "");
}

/** The path below the root that a specifier means; undefined for npm packages and the like. */
function targetOf(path: string, specifier: string): string | undefined {
  if (specifier.startsWith(".")) {
    return decodeURIComponent(new URL(specifier, `file:///${path}`).pathname.slice(1));
  }
  if (specifier === PACKAGE) return "mod.ts";
  if (specifier.startsWith(`${PACKAGE}/`)) return specifier.slice(PACKAGE.length + 1);
  return specifier.startsWith("@std/") ? "std" : undefined;
}

/** Position of a path's layer; -1 for what is no layer, such as a configuration. */
function rankOf(path: string): number {
  if (ENTRY_POINTS.includes(path)) return LAYERS.length;
  return LAYERS.indexOf(topOf(path));
}

function topOf(path: string): string {
  return path.split("/")[0] ?? "";
}

/** Why a file may not import another; undefined if it may. */
function importProblem(path: string, target: string): string | undefined {
  const from = topOf(path), to = topOf(target);
  if (WORKSHOPS.includes(from) || /_test\.tsx?$/.test(path) || from === to) return undefined;
  if (WORKSHOPS.includes(to)) return `Only tests, bench and tools import from ${to}/`;
  if (from === "web") {
    return target === "mod.ts" ? undefined : "web/ imports nothing of the project but mod.ts";
  }
  if (rankOf(path) >= 0 && rankOf(target) > rankOf(path)) {
    return `${from} is below ${to}: imports go std ← kernels ← nn ← models ← train ← cli`;
  }
  return undefined;
}

const tapeNeedsUsing: Deno.lint.Rule = {
  create(context) {
    return {
      NewExpression(node) {
        if (node.callee.type !== "Identifier" || node.callee.name !== "Tape") return;
        const declaration = node.parent.type === "VariableDeclarator" && node.parent.parent;
        if (
          declaration && declaration.type === "VariableDeclaration" &&
          declaration.kind.endsWith("using")
        ) return;
        context.report({
          node,
          message: "A tape owns GPU memory until its scope ends",
          hint: "Bind it with `using`: `using tape = new Tape(gpu);`",
        });
      },
    };
  },
};

const createBufferOnlyInKernelsGpu: Deno.lint.Rule = {
  create(context) {
    if (BUFFER_OWNERS.includes(pathOf(context.filename))) return {};
    return {
      "CallExpression > MemberExpression[property.name='createBuffer']"(
        node: Deno.lint.MemberExpression,
      ) {
        context.report({
          node,
          message: `Only ${BUFFER_OWNERS.join(", ")} create GPU buffers`,
          hint: "Allocate on a tape, or acquire from the pool",
        });
      },
    };
  },
};

const consoleOnlyInCli: Deno.lint.Rule = {
  create(context) {
    const path = pathOf(context.filename);
    if (
      CONSOLE_USERS.some((user) => path === user || user.endsWith("/") && path.startsWith(user))
    ) {
      return {};
    }
    return {
      "MemberExpression[object.name='console']"(node: Deno.lint.MemberExpression) {
        context.report({
          node,
          message: `Only ${CONSOLE_USERS.join(", ")} write to the console`,
          hint: "Return the text, or hand it to the log",
        });
      },
    };
  },
};

const layerDirection: Deno.lint.Rule = {
  create(context) {
    const path = pathOf(context.filename);
    const visit = (node: Deno.lint.Node, specifier: unknown): void => {
      if (typeof specifier !== "string") return;
      const target = targetOf(path, specifier);
      const message = target === undefined ? undefined : importProblem(path, target);
      if (message !== undefined) context.report({ node, message });
    };
    return {
      ImportDeclaration: (node) => visit(node, node.source.value),
      ExportNamedDeclaration: (node) => visit(node, node.source?.value),
      ExportAllDeclaration: (node) => visit(node, node.source.value),
      ImportExpression: (node) =>
        visit(node, node.source.type === "Literal" ? node.source.value : undefined),
    };
  },
};

/** The rules, as `lint.plugins` of deno.json loads them. */
const plugin: Deno.lint.Plugin = {
  name: "tessera",
  rules: {
    "tape-needs-using": tapeNeedsUsing,
    "create-buffer-only-in-kernels-gpu": createBufferOnlyInKernelsGpu,
    "console-only-in-cli": consoleOnlyInCli,
    "layer-direction": layerDirection,
  },
};

export default plugin;
