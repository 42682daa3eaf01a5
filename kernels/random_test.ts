import { assert, assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { fillNormal, fillUniform } from "./random.ts";

const key = { seed: 7, step: 3, stream: 5 };

gpuTest("fillUniform() fills [low, high) evenly and repeats for a key", async (gpu) => {
  const y = gpu.acquire(4 * 10007);
  fillUniform(gpu, y, { key, low: -1, high: 3 });
  const first = new Float32Array((await gpu.read([y]))[0]!);
  fillUniform(gpu, y, { key, low: -1, high: 3 });
  const second = new Float32Array((await gpu.read([y]))[0]!);
  gpu.release(y);
  assertEquals(first, second);
  assert(first.every((value) => value >= -1 && value < 3));
  const mean = first.reduce((sum, value) => sum + value, 0) / first.length;
  assert(Math.abs(mean - 1) < 0.05, `mean ${mean}`);
});

gpuTest("fillNormal() has the mean and deviation asked for", async (gpu) => {
  const y = gpu.acquire(4 * 20001);
  fillNormal(gpu, y, { key, mean: 2, standardDeviation: 0.5 });
  const values = new Float32Array((await gpu.read([y]))[0]!);
  gpu.release(y);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  assert(Math.abs(mean - 2) < 0.02, `mean ${mean}`);
  assert(Math.abs(Math.sqrt(variance) - 0.5) < 0.01, `deviation ${Math.sqrt(variance)}`);
});

gpuTest("philox() equals the published test vector for counter 0, key 0", async (gpu) => {
  // Random123 kat_vectors: philox4x32-10, all zero: 6627e8d5 e169c58d bc57ac4c 9b00dbd8; unitInterval keeps the upper 24 bits.
  const y = gpu.acquire(16);
  fillUniform(gpu, y, { key: { seed: 0, step: 0, stream: 0 }, low: 0, high: 1 });
  const values = new Float32Array((await gpu.read([y]))[0]!);
  gpu.release(y);
  assertEquals([...values], [0x6627e8, 0xe169c5, 0xbc57ac, 0x9b00db].map((bits) => bits / 2 ** 24));
});
