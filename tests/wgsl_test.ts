/** Every entry point of every WGSL file compiles within WebGPU's default limits; a failure names file and line. @module */

import { assertEquals } from "@std/assert";
import { definedKernels } from "../kernels/mod.ts";

/** Features that some kernels need. */
const OPTIONAL: readonly GPUFeatureName[] = ["shader-f16"];

/** Text of each file by its path below the root. */
type Files = ReadonlyMap<string, string>;

/** What a compiler is given. */
interface Source {
  /** The whole text: shared files in front of the kernel's own. */
  readonly source: string;
  /** Names of the entry points. */
  readonly entryPoints: Iterable<string>;
}

const folder = new URL("../kernels/", import.meta.url);
const readable = (await Deno.permissions.query({ name: "read" })).state === "granted";
const files = readable ? readFiles() : new Map<string, string>();
const adapter = await navigator.gpu?.requestAdapter() ?? null;

function readFiles(): Files {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  return new Map(
    names.filter((name) => name.endsWith(".wgsl")).sort().map((name) => [
      `kernels/${name}`,
      Deno.readTextFileSync(new URL(name, folder)),
    ]),
  );
}

/** What is in front of the first loop of a file: launchers may write loops out. */
function beforeLoops(text: string): string {
  return text.split("for (")[0] ?? text;
}

/** Says where a line of a joined text comes from: `kernels/softmax.wgsl:12`. */
function locate(source: string, line: number, files: Files): string {
  for (const [path, text] of files) {
    const at = source.indexOf(text);
    if (at < 0) continue;
    const first = source.slice(0, at).split("\n").length;
    if (line >= first && line < first + text.split("\n").length) {
      return `${path}:${line - first + 1}`;
    }
  }
  return `line ${line} of the joined text`;
}

/** Compiles all entry points; returns a line for each problem. */
async function problemsOf(
  device: GPUDevice,
  { source, entryPoints }: Source,
  files: Files,
): Promise<string[]> {
  const lineOf = (text: string): number => source.slice(0, source.indexOf(text)).split("\n").length;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code: source });
  const { messages } = await module.getCompilationInfo();
  await device.popErrorScope();
  const errors = messages.filter(({ type }) => type === "error");
  if (errors.length > 0) {
    return errors.map(({ lineNum, message }) =>
      `${locate(source, lineNum, files)}: ${message.trim()}`
    );
  }
  const problems: string[] = [];
  for (const entryPoint of entryPoints) {
    device.pushErrorScope("validation");
    device.createComputePipeline({ layout: "auto", compute: { module, entryPoint } });
    const error = await device.popErrorScope();
    if (error) {
      problems.push(
        `${locate(source, lineOf(`fn ${entryPoint}(`), files)}: ${error.message.trim()}`,
      );
    }
  }
  return problems;
}

const byName = Map.groupBy(definedKernels(), ({ name }) => name);
for (const [name, kernels] of byName) {
  Deno.test({
    name: `every entry point of ${name} compiles`,
    ignore: adapter === null,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const current = (await navigator.gpu.requestAdapter())!;
      const requiredFeatures = OPTIONAL.filter((feature) => current.features.has(feature));
      const device = await current.requestDevice({ requiredFeatures });
      for (const { source, entryPoints, needsHalf } of kernels) {
        if (needsHalf && !device.features.has("shader-f16")) continue;
        const problems = await problemsOf(
          device,
          { source, entryPoints: entryPoints.keys() },
          files,
        );
        assertEquals(problems, []);
      }
      device.destroy();
    },
  });
}

Deno.test({
  name: "every WGSL file is part of a kernel that is compiled",
  ignore: !readable,
  fn() {
    const unused = [...files].filter(([, text]) =>
      !definedKernels().some(({ source }) => source.includes(beforeLoops(text)))
    );
    assertEquals(unused.map(([path]) => path), []);
    assertEquals(files.size > 20, true, "files are found");
  },
});

Deno.test({
  name: "a WGSL file that does not compile is named with its line",
  ignore: adapter === null,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const shared = "// shared\nfn twice(x: f32) -> f32 { return 2 * x; }\n";
    const own = "// own\n@compute @workgroup_size(1)\nfn main() { let y: u32 = twice(1.0); }\n";
    const huge = "override N: u32 = 100000;\n@compute @workgroup_size(N)\nfn main() {}\n";
    const files = new Map([["shared.wgsl", shared], ["own.wgsl", own], ["huge.wgsl", huge]]);
    const device = await adapter!.requestDevice();
    const problems = async (text: string): Promise<string[]> =>
      (await problemsOf(device, { source: `${shared}\n${text}`, entryPoints: ["main"] }, files))
        .map((problem) => problem.slice(0, problem.indexOf(": ")));
    assertEquals(await problems(own), ["own.wgsl:3"]);
    assertEquals(await problems(huge), ["huge.wgsl:3"]);
    device.destroy();
  },
});
