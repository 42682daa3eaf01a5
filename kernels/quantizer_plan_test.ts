import { assert, assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { chunkCodes, quantizerTile, splitLoop } from "./quantizer_plan.ts";
import { iterationsOf } from "./quantizer_dots.ts";

const TERMS = { entropy: true, sharp: true, straightThrough: false };

gpuTest("splitLoop() keeps every loop shorter than llvmpipe ends it", (gpu) => {
  const size = { rows: 4096, codes: 131072, dimensions: 250 };
  const tile = quantizerTile(gpu, size, TERMS);
  const step = gpu.threads * tile.codes;
  const { splits, span } = splitLoop(gpu, tile, {
    dimensions: size.dimensions,
    count: size.codes,
    step,
    groups: 256,
    most: 1,
  });
  assert(span / step * iterationsOf(tile, size.dimensions) < 65535);
  assert(splits * span >= size.codes && (splits - 1) * span < size.codes);
});

gpuTest("chunkCodes() gives a small chunk where tokens and codes are few", (gpu) => {
  const size = { rows: 64, codes: 1024, dimensions: 4 };
  assertEquals(chunkCodes(gpu, size, { rows: 64, step: 64 }), 256);
});
