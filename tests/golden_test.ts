import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { encodeSafetensors } from "../train/files/safetensors.ts";
import { UserError } from "../train/errors.ts";
import { type FileResult, VectorFolder } from "../tools/golden/check.ts";
import { checkCheckpoints } from "../tools/golden/checkpoints.ts";
import { formatGroup } from "../tools/golden.ts";
import { testGpu } from "./op_case.ts";

const FOLDER = "tests/golden";
const FILES = [
  "discriminator",
  "gan_step",
  "gpt",
  "lpips",
  "ops",
  "optim",
  "preprocess",
  "quantizer",
  "tokenizer",
];

/**
 * Checked by `deno task golden` alone: with weights of half a gigabyte and more each takes tens of seconds on two cores, beside which
 * the smaller files check the same operations with gradients.
 */
const OFFICIAL_FILES = ["official_gpt_B", "official_tokenizer_16384"];

const adapter = await navigator.gpu?.requestAdapter() ?? null;
const permitted = async (name: "read" | "write" | "run"): Promise<boolean> =>
  (await Deno.permissions.query({ name })).state === "granted";
const mayRead = await permitted("read");
const mayWrite = mayRead && await permitted("write");
const mayRun = mayWrite && await permitted("run");

function failures({ name, groups }: FileResult): string[] {
  return groups.filter((group) => !group.passed).map((group) => formatGroup(name, group));
}

for (const name of FILES) {
  Deno.test({
    name: `golden ${name}: the engine agrees with the reference`,
    ignore: !mayRead || adapter === null,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const folder = await VectorFolder.open(FOLDER);
      const gpu = await testGpu();
      const before = gpu.stats().liveBytes;
      const result = await folder.check(name, gpu);
      assertEquals(failures(result), []);
      assert(result.groups.length > 0, "expected groups that were compared");
      await gpu.settle();
      assertEquals(gpu.stats().liveBytes, before, "bytes that the check did not give back");
    },
  });
}

Deno.test({
  name: "golden ckpt: checkpoints are read as PyTorch does, and bad ones refused",
  ignore: !mayRead,
  async fn() {
    const result = await checkCheckpoints(FOLDER);
    assert(result && result.groups.length === 26, "expected the checkpoints of the folder");
    assertEquals(failures(result), []);
  },
});

Deno.test({
  name: "golden: the default folder holds every file that is checked",
  ignore: !mayRead,
  async fn() {
    assertEquals((await VectorFolder.open(FOLDER)).files, [...FILES, ...OFFICIAL_FILES].sort());
  },
});

/** Runs `body` on a folder with the files of `contents` and removes it. */
async function withFolder(
  contents: Readonly<Record<string, string | Uint8Array>>,
  body: (path: string) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempDir({ prefix: "tessera-golden-" });
  try {
    for (const [name, content] of Object.entries(contents)) {
      if (typeof content === "string") await Deno.writeTextFile(`${path}/${name}`, content);
      else await Deno.writeFile(`${path}/${name}`, content);
    }
    await body(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

/** A small file whose only tensor is called `name`. */
function fileWith(name: string, config?: string): Promise<Uint8Array> {
  return encodeSafetensors(
    [{ name, dtype: "F32", shape: [2], data: Float32Array.of(1, 2) }],
    { metadata: config === undefined ? {} : { config } },
  );
}

Deno.test({
  name: "VectorFolder rejects a missing folder, one without vectors and one without tolerances",
  ignore: !mayWrite,
  async fn() {
    await assertRejects(
      () => VectorFolder.open("tests/no such folder"),
      UserError,
      "Cannot read tests/no such folder: no such file or folder",
    );
    await withFolder({ "tolerances.json": "{}" }, async (path) => {
      await assertRejects(() => VectorFolder.open(path), UserError, "expected .safetensors files");
    });
    const ops = await fileWith("relu.x", "{}");
    await withFolder({ "ops.safetensors": ops }, async (path) => {
      await assertRejects(
        () => VectorFolder.open(path),
        UserError,
        "tolerances.json: no such file",
      );
    });
    await withFolder({ "ops.safetensors": ops, "tolerances.json": "[1" }, async (path) => {
      await assertRejects(() => VectorFolder.open(path), UserError, "tolerances.json");
    });
  },
});

Deno.test({
  name: "VectorFolder fails unknown and malformed files, unknown ops and forgotten tensors",
  ignore: !mayWrite || adapter === null,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const gpu = await testGpu();
    const cases: [string, Uint8Array, string][] = [
      ["surprise", await fileWith("x", "{}"), "expected one of"],
      ["ops", Uint8Array.of(1, 2, 3), "safetensors"],
      ["ops", await fileWith("relu.x"), "the config metadata"],
      ["ops", await fileWith("relu.x", "not JSON"), "the config metadata"],
      ["ops", await fileWith("relu.x", '{"relu": {}}'), "relu.out"],
      ["ops", await fileWith("no_such_op.x", "{}"), "found none by this name"],
      ["optim", await fileWith("stray", "{}"), "1: stray"],
      ["quantizer", await fileWith("base.z", '{"base": 1}'), "expected an object"],
      ["official_gpt_S", await fileWith("loss", "{}"), "expected a text"],
      ["official_gpt_S", await fileWith("loss", '{"kind": "vae"}'), "tokenizer or gpt, found vae"],
    ];
    for (const [name, content, message] of cases) {
      const contents = { [`${name}.safetensors`]: content, "tolerances.json": "{}" };
      await withFolder(contents, async (path) => {
        const result = await (await VectorFolder.open(path)).check(name, gpu);
        assertStringIncludes(failures(result).join("\n"), message);
      });
    }
  },
});

Deno.test({
  name: "golden command: exit codes, messages and files that are not checked",
  ignore: !mayRun || adapter === null,
  async fn() {
    const run = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--preload", "tools/gpu_env.ts", "tools/golden.ts", ...args],
      }).output();
      const decoder = new TextDecoder();
      return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
    };
    assertStringIncludes((await run("--help")).out, "Usage: deno task golden [FOLDER]");
    const missing = await run("no-such-folder");
    assertEquals(missing.code, 2);
    assertEquals(missing.err, "Cannot read no-such-folder: no such file or folder\n");
    assertEquals((await run("--frobnicate")).code, 2);
    const later = { "metrics.safetensors": new Uint8Array(), "tolerances.json": "{}" };
    await withFolder(later, async (path) => {
      const { code, out } = await run(path);
      assertEquals(code, 0);
      assertStringIncludes(out, "not checked");
    });
    const unknown = { ...later, "surprise.safetensors": await fileWith("x", "{}") };
    await withFolder(unknown, async (path) => {
      const { code, out } = await run(path);
      assertEquals(code, 1);
      assertStringIncludes(out, "surprise file");
      assertStringIncludes(out, "0 groups passed, 1 failed");
    });
  },
});
