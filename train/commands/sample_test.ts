/** Tests of sampling into files: chunks that resume, pictures, what is drawn by which process. @module */

import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import type { Gpu } from "../../kernels/gpu.ts";
import { Tokenizer } from "../../models/tokenizer.ts";
import { Transformer } from "../../models/transformer.ts";
import { ModuleContext } from "../../nn/module.ts";
import { gpuTest } from "../../tests/op_case.ts";
import { sampleImages, type SamplingModels } from "../drawing.ts";
import { UserError } from "../errors.ts";
import { NpzReader } from "../files/npz.ts";
import { decodeImage, readImageHeader } from "../image/codec.ts";
import { unitToTruncatedSamples } from "../image/samples.ts";
import { Reporter } from "../log.ts";
import { requireTypes } from "./sample.ts";
import { type ChunkOptions, classesOfChunk, sampleChunk, seedsOfClass } from "./sample_chunk.ts";
import { samplePictures } from "./sample_pictures.ts";
import { SAMPLE_PRESETS, settingsFolder } from "./sample_settings.ts";

const ignore = (await Deno.permissions.query({ name: "write" })).state !== "granted";

Deno.test("requireTypes() refuses f16 where the adapter has none, and names the option", () => {
  const adapter = { name: "a small GPU", vendor: "", software: false, subgroupSize: 0 };
  const without = { adapter, features: new Set<string>() };
  requireTypes(without, { precision: "f32", cacheType: "f32" });
  requireTypes({ adapter, features: new Set(["shader-f16"]) }, {
    precision: "f16",
    cacheType: "f16",
  });
  assertThrows(
    () => requireTypes(without, { precision: "f16", cacheType: "f16" }),
    UserError,
    "Cannot sample with --precision f16: expected an adapter that computes with f16 (feature shader-f16), found a small GPU without",
  );
  assertThrows(
    () => requireTypes(without, { precision: "f32", cacheType: "f16" }),
    UserError,
    "Cannot sample with --kv-cache f16",
  );
});

Deno.test("settingsFolder() names folders as the reference's scripts do", () => {
  const folders = ["B", "L", "XL", "XXL"].map((name) => settingsFolder(SAMPLE_PRESETS.get(name)!));
  // The folders that scripts/evaluation/sample_gpu.sh combines.
  assertEquals(folders, [
    "top_k_0_temp_1.10_top_p_1.0_cfg_2.25",
    "top_k_0_temp_1.00_top_p_1.0_cfg_2.0",
    "top_k_0_temp_1.15_top_p_1.0_cfg_2.35",
    "top_k_0_temp_1.20_top_p_1.0_cfg_2.85",
  ]);
});

Deno.test("classesOfChunk() and seedsOfClass() give every image to one chunk and one seed", () => {
  const labels = Array.from({ length: 10 }, (_, label) => label);
  for (const chunks of [1, 3, 4, 10]) {
    const shares = Array.from({ length: chunks }, (_, index) => {
      return classesOfChunk(labels, { globalSeed: 42, chunks, index }, { listed: false });
    });
    assertEquals(shares.flat(), labels);
    const sizes = shares.map((share) => share.length);
    assert(Math.max(...sizes) - Math.min(...sizes) <= 1);
    const seeds = shares.flatMap((share, index) =>
      share.flatMap((label) =>
        seedsOfClass(label, { chunk: { globalSeed: 42, chunks, index }, perClass: 7, classes: 10 })
      )
    );
    assertEquals(new Set(seeds).size, 70);
  }
  // A list is drawn in full by each chunk, with other seeds.
  const chunk = { globalSeed: 1, chunks: 2, index: 1 };
  assertEquals(classesOfChunk([7, 2], chunk, { listed: true }), [7, 2]);
  const seeds = (index: number) =>
    seedsOfClass(7, { chunk: { ...chunk, index }, perClass: 2, classes: 10 });
  assertEquals([seeds(0), seeds(1)], [[54, 55], [74, 75]]);
  assertThrows(
    () => classesOfChunk([7, 2, 7], chunk, { listed: true }),
    UserError,
    "Cannot sample class 7: expected each class once, found it twice",
  );
  assertThrows(
    () => seedsOfClass(0, { chunk: { ...chunk, globalSeed: 2 ** 50 }, perClass: 9, classes: 9 }),
    UserError,
    "expected a seed whose product",
  );
});

/** Models of 4 × 4 pixels and three classes; what they draw is noise. */
function tinyModels(gpu: Gpu): SamplingModels & Disposable {
  const tokenizer = new Tokenizer(new ModuleContext(gpu, 1), {
    ddconfig: {
      ...{ resolution: 4, inChannels: 3, outCh: 3, ch: 4, chMult: [1, 1], numResBlocks: 1 },
      ...{ attnResolutions: [], numGroups: 2, zChannels: 4, dropout: 0 },
    },
    nEmbed: 16,
    embedDim: 4,
  });
  const transformer = new Transformer(new ModuleContext(gpu, 2), {
    ...{ vocabSize: 16, blockSize: 4, nLayer: 1, nHead: 2, nEmbd: 16, classNum: 3, multipleOf: 4 },
  });
  return {
    gpu,
    tokenizer,
    transformer,
    [Symbol.dispose]: () => {
      tokenizer[Symbol.dispose]();
      transformer[Symbol.dispose]();
    },
  };
}

function filesTest(name: string, body: (gpu: Gpu, folder: string) => Promise<void>): void {
  if (ignore) return Deno.test({ name, ignore, fn: () => {} });
  gpuTest(name, async (gpu) => {
    const folder = await Deno.makeTempDir({ prefix: "tessera-" });
    try {
      await body(gpu, folder);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

const SETTINGS = { perClass: 3, temperature: 1, topK: 0, topP: 1, guidance: 2 } as const;
const quiet = new Reporter({ writeLine: () => {} });

function chunkOptions(folder: string, options: Partial<ChunkOptions> = {}): ChunkOptions {
  return {
    ...SETTINGS,
    labels: [2, 0, 1],
    chunk: { globalSeed: 5, chunks: 2, index: 1 },
    batchSize: 2,
    cacheType: "f32",
    folder,
    origin: { checkpoint: "a" },
    reporter: quiet,
    ...options,
  };
}

function names(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
}

filesTest(
  "sampleChunk() stopped anywhere goes on behind the last whole class and ends in the same file",
  async (gpu, folder) => {
    using models = tinyModels(gpu);
    const path = await sampleChunk(models, chunkOptions(folder));
    assertEquals(path, `${folder}/samples_1.npz`);
    assertEquals(names(folder), ["samples_1.npz"]);
    const whole = await Deno.readFile(path);
    {
      using file = await NpzReader.open(path);
      const { dtype, shape } = file.entry("arr_0");
      assertEquals([dtype, shape], ["|u1", [9, 4, 4, 3]]);
      // Image by image what the seeds of each class say.
      const { pixels } = await sampleImages(models, {
        ...SETTINGS,
        classes: [2, 2, 2, 0, 0, 0, 1, 1, 1],
        seeds: [123, 124, 125, 117, 118, 119, 120, 121, 122].map((seed) => seed - 18),
        batchSize: 9,
      });
      assertEquals(await file.bytes("arr_0"), unitToTruncatedSamples(pixels));
    }
    for (let batches = 1; batches <= 6; batches += 2) {
      await Deno.remove(path);
      let drawn = 0;
      const stop = (): void => {
        if (++drawn === batches) throw new Error("stopped");
      };
      await assertRejects(
        () => sampleChunk(models, chunkOptions(folder, { onBatch: stop })),
        Error,
      );
      assertEquals(names(folder), [".samples_1"]);
      const done = Math.floor((batches - 1) / 2);
      assertEquals(names(`${folder}/.samples_1`).length, 1 + done);
      let later = 0;
      // Images at once are no setting of what is drawn.
      const onBatch = (): void => void later++;
      await sampleChunk(models, chunkOptions(folder, { onBatch, batchSize: 3 }));
      assertEquals([await Deno.readFile(path), later], [whole, 3 - done]);
      assertEquals(names(folder), ["samples_1.npz"]);
    }
  },
);

filesTest("sampleChunk() does not continue a sampling with other settings", async (gpu, folder) => {
  using models = tinyModels(gpu);
  const stop = (): void => {
    throw new Error("stopped");
  };
  const path = await sampleChunk(models, chunkOptions(folder));
  const whole = await Deno.readFile(path);
  const changes: readonly Partial<ChunkOptions>[] = [
    { chunk: { globalSeed: 6, chunks: 2, index: 1 } },
    { topK: 3 },
    { origin: { checkpoint: "b" } },
  ];
  for (const change of changes) {
    let batch = 0;
    const onBatch = (): void => ++batch > 2 ? stop() : undefined;
    await assertRejects(() => sampleChunk(models, chunkOptions(folder, { ...change, onBatch })));
    const lines: string[] = [];
    const reporter = new Reporter({ writeLine: (line) => lines.push(line) });
    await sampleChunk(models, chunkOptions(folder, { reporter }));
    assert(lines[0]?.endsWith("is of a sampling with other settings: starting anew"), lines[0]);
    assertEquals(await Deno.readFile(path), whole);
  }
  const other = chunkOptions(folder, { chunk: { globalSeed: 5, chunks: 2, index: 0 } });
  assertNotEquals(await Deno.readFile(await sampleChunk(models, other)), whole);
});

filesTest(
  "samplePictures() writes a PNG an image in a folder a class, and a sheet",
  async (gpu, folder) => {
    using models = tinyModels(gpu);
    const options = {
      ...{
        ...SETTINGS,
        labels: [2, 0],
        classNames: ["a", "b", "n02099601"],
        seed: 8,
        batchSize: 4,
      },
      ...{ cacheType: "f32" as const, folder, sheet: `${folder}/sheet.png`, reporter: quiet },
    };
    assertEquals(await samplePictures(models, options), [`${folder}/sheet.png`, folder]);
    assertEquals(names(folder), ["0", "2", "sheet.png"]);
    const files = ["000000.png", "000001.png", "000002.png"];
    assertEquals([names(`${folder}/0`), names(`${folder}/2`)], [files, files]);
    const { pixels } = await sampleImages(models, {
      ...{ ...SETTINGS, classes: [2, 2, 2, 0, 0, 0], seeds: [8, 9, 10, 11, 12, 13], batchSize: 6 },
    });
    const samples = unitToTruncatedSamples(pixels);
    const image = decodeImage(await Deno.readFile(`${folder}/0/000001.png`));
    assertEquals([image.width, image.height], [4, 4]);
    assertEquals(new Uint8Array(image.pixels), samples.slice(4 * 48, 5 * 48));
    assert(readImageHeader(await Deno.readFile(`${folder}/sheet.png`)).width > 3 * 64);
  },
);
