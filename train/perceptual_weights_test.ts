/** Tests of where the perceptual network's weights come from. @module */

import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { fileURLToPath } from "node:url";
import { Lpips, VGG16_WIDTHS } from "../models/lpips.ts";
import { fileShape, toFileLayout } from "../models/weights.ts";
import type { Parameter } from "../nn/tensor.ts";
import { gpuTest } from "../tests/op_case.ts";
import { ignoreFiles as ignore } from "../tests/tiny_run.ts";
import { UserError } from "./errors.ts";
import { writeSafetensors } from "./files/safetensors.ts";
import { loadLpips, preparePerceptual } from "./perceptual_weights.ts";
import { PRETRAINED } from "./pretrained/table.ts";

/** The published heads, as the package `lpips` 0.1.4 has them. */
const HEADS = fileURLToPath(new URL("../tests/golden/lpips_v0.1_vgg.pth", import.meta.url));
const NARROW = [2, 3, 2, 4, 2];

async function withCache(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "tessera-" });
  const before = Deno.env.get("TESSERA_WEIGHTS");
  Deno.env.set("TESSERA_WEIGHTS", folder);
  try {
    await body(folder);
  } finally {
    if (before === undefined) Deno.env.delete("TESSERA_WEIGHTS");
    else Deno.env.set("TESSERA_WEIGHTS", before);
    await Deno.remove(folder, { recursive: true });
  }
}

/** Elements of every parameter in the file's order of axes. */
async function valuesOf(lpips: Lpips): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  for (const [name, parameter] of lpips.namedParameters()) {
    const [bytes] = await parameter.gpu.read([parameter.storage]);
    values.set(name, toFileLayout(parameter, new Float32Array(bytes!)));
  }
  return values;
}

async function writeWeights(
  path: string,
  lpips: Lpips,
  nameOf: (name: string) => string | undefined,
): Promise<void> {
  const values = await valuesOf(lpips);
  const parameters = new Map<string, Parameter>(lpips.namedParameters());
  const tensors = [...values].flatMap(([name, data]) => {
    const renamed = nameOf(name);
    const shape = fileShape(parameters.get(name)!);
    return renamed === undefined ? [] : [{ name: renamed, dtype: "F32" as const, shape, data }];
  });
  await writeSafetensors(path, tensors);
}

function filesTest(name: string, body: Parameters<typeof gpuTest>[1]): void {
  if (ignore) Deno.test({ name, ignore, fn: () => {} });
  else gpuTest(name, body);
}

filesTest(
  "preparePerceptual() keeps random weights, or loads those of the cache once they are whole",
  async (gpu) => {
    const config = { vggWeights: null, vggSeed: 3, vggWidth: NARROW };
    const full = { ...config, vggWidth: VGG16_WIDTHS };
    using narrow = new Lpips(gpu, { widths: NARROW, salt: 3 });
    await withCache(async (folder) => {
      assertEquals(
        await preparePerceptual(undefined, config),
        "perceptual loss: none, perceptual_weight is 0",
      );
      const random = "perceptual loss: LPIPS on a random VGG16 (seed 3, 2-3-2-4-2 channels)";
      assertEquals(
        await preparePerceptual(narrow, config),
        `${random}, as no weights are configured`,
      );
      // Of the full width only the choice is looked at: the narrow network here is never filled.
      const missing = await preparePerceptual(narrow, full);
      assert(missing.endsWith("or in the cache; deno task weights fetches them"), missing);
      await Deno.copyFile(HEADS, `${folder}/${PRETRAINED.lpips_vgg.file}`);
      await Deno.writeTextFile(`${folder}/${PRETRAINED.vgg16.file}.part`, "cut short");
      assertEquals(await preparePerceptual(narrow, full), missing);
      await Deno.writeTextFile(`${folder}/${PRETRAINED.vgg16.file}`, "not what was published");
      await assertRejects(
        () => preparePerceptual(narrow, full),
        UserError,
        "as vgg16: expected a SHA-256 that starts with 397923af, found ",
      );
      // A run that began at random goes on so, whatever the cache has by now.
      const resumed = await preparePerceptual(narrow, full, { earlier: missing });
      assert(resumed.endsWith(", with which the run began"), resumed);
      assertEquals(await preparePerceptual(narrow, full, { earlier: resumed }), resumed);
      await Deno.remove(`${folder}/${PRETRAINED.vgg16.file}`);
      const earlier =
        "perceptual loss: LPIPS with the published weights vgg16-397923af.pth and lpips_v0.1_vgg.pth";
      await assertRejects(
        () => preparePerceptual(narrow, full, { earlier }),
        UserError,
        "found no such file; deno task weights vgg16 fetches it",
      );
    });
  },
);

filesTest("loadLpips() reads torchvision's VGG16 and the published heads", async (gpu) => {
  await withCache(async (folder) => {
    const path = `${folder}/vgg16.safetensors`;
    using source = new Lpips(gpu, { salt: 7 });
    await writeWeights(path, source, (name) => {
      const [, own] = /^net\.slice\d\.(.*)$/.exec(name) ?? [];
      return own && `features.${own}`;
    });
    using loaded = new Lpips(gpu, { salt: 8 });
    await assertRejects(
      () => loadLpips(loaded, path),
      UserError,
      `Cannot load the heads for ${path}: expected lpips_vgg at ${folder}/lpips_v0.1_vgg.pth`,
    );
    await Deno.copyFile(HEADS, `${folder}/${PRETRAINED.lpips_vgg.file}`);
    await loadLpips(loaded, path);
    const [want, found] = [await valuesOf(source), await valuesOf(loaded)];
    for (const [name, values] of found) {
      if (name.startsWith("lin")) assertNotEquals(values, want.get(name));
      else assertEquals(values, want.get(name), name);
    }
    // The first weights of the heads by PyTorch.
    const firsts = [0, 1, 2, 3, 4].map((i) => found.get(`lin${i}.model.1.weight`)?.[0]);
    assertEquals(firsts, [
      0.05011165887117386,
      0.039409372955560684,
      0.05793386325240135,
      0.05780801177024841,
      0.04268040508031845,
    ]);
  });
});

filesTest(
  "loadLpips() reads a checkpoint of stage I and refuses what does not fit",
  async (gpu) => {
    await withCache(async (folder) => {
      using source = new Lpips(gpu, { widths: NARROW, salt: 1 });
      using loaded = new Lpips(gpu, { widths: NARROW, salt: 2 });
      const path = `${folder}/last.safetensors`;
      await writeWeights(path, source, (name) => `loss.perceptual_loss.${name}`);
      await loadLpips(loaded, path);
      assertEquals(await valuesOf(loaded), await valuesOf(source));
      await writeWeights(path, source, (name) => name.startsWith("lin0") ? undefined : name);
      await assertRejects(
        () => loadLpips(loaded, path),
        UserError,
        `Cannot load ${path}: expected the tensors of LPIPS with VGG16, found that lin0.model.1.weight is missing`,
      );
      await assertRejects(
        () => loadLpips(loaded, HEADS),
        UserError,
        "and 26 more",
      );
      await Deno.writeTextFile(path, "no weights");
      await assertRejects(() => loadLpips(loaded, path), UserError, `Cannot read ${path}`);
    });
  },
);
