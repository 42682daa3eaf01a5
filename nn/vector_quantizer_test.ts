import { assert, assertEquals } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { Tape } from "./tape.ts";
import { vectorQuantize } from "./vector_quantizer.ts";

for (const legacy of [true, false]) {
  gpuTest(`vectorQuantize() finds the nearest code, legacy ${legacy}`, async (gpu) => {
    using tape = new Tape(gpu);
    const [rows, codes, dimensions, beta] = [7, 11, 3, 0.25];
    const tokens = randomNumbers(rows * dimensions, "z");
    const table = randomNumbers(codes * dimensions, "codes");
    const z = tape.input(tokens, [rows, dimensions]);
    const codebook = tape.input(table, [codes, dimensions]);
    const { zq, indices, quantLoss } = vectorQuantize(z, codebook, { beta, legacy });
    const nearest = Array.from({ length: rows }, (_, n) => {
      const distances = Array.from({ length: codes }, (_, k) => {
        let sum = 0;
        for (let d = 0; d < dimensions; d++) {
          sum += (tokens[n * dimensions + d]! - table[k * dimensions + d]!) ** 2;
        }
        return sum;
      });
      return distances.indexOf(Math.min(...distances));
    });
    assertEquals([...await indices.readIndices()], nearest);
    const difference = [...tokens].map((value, i) =>
      value - table[nearest[Math.floor(i / dimensions)]! * dimensions + i % dimensions]!
    );
    const mean = difference.reduce((sum, value) => sum + value * value, 0) / tokens.length;
    assertClose(await quantLoss.read(), [(1 + beta) * mean], REDUCTION, "loss");
    const gradients = tape.grad(quantLoss, [z, codebook]);
    const slope = 2 / tokens.length;
    assertClose(
      await gradients.get(z)!.read(),
      difference.map((value) => (legacy ? 1 : beta) * slope * value),
      REDUCTION,
      "gradient of z",
    );
    const dcodebook = new Array<number>(table.length).fill(0);
    for (const [i, value] of difference.entries()) {
      const at = nearest[Math.floor(i / dimensions)]! * dimensions + i % dimensions;
      dcodebook[at] = dcodebook[at]! - (legacy ? beta : 1) * slope * value;
    }
    assertClose(await gradients.get(codebook)!.read(), dcodebook, REDUCTION, "gradient of codes");
    const upstream = tape.input(randomNumbers(tokens.length, "upstream"), z.shape);
    const passed = tape.grad(zq, [z, codebook], { gradient: upstream });
    assertEquals(await passed.get(z)!.read(), await upstream.read());
    assertEquals(passed.has(codebook), false);
  });
}

gpuTest("vectorQuantize() on the unit sphere ignores lengths", async (gpu) => {
  using tape = new Tape(gpu);
  const z = tape.input(new Float32Array([3, 1]), [1, 2]);
  const codebook = tape.input(new Float32Array([3, 1.5, 0.3, 0.1]), [2, 2]);
  assertEquals([...await vectorQuantize(z, codebook).indices.readIndices()], [0]);
  const { indices } = vectorQuantize(z, codebook, { l2Normalize: true });
  assertEquals([...await indices.readIndices()], [1]);
});

gpuTest("vectorQuantize() searches some tokens at a time", async (gpu) => {
  using tape = new Tape(gpu, { record: false });
  // More distances than are in memory at once: two parts, of which the second is smaller.
  const [rows, codes, dimensions] = [1030, 16_384, 2];
  const tokens = randomNumbers(rows * dimensions, "z");
  const table = randomNumbers(codes * dimensions, "codes");
  const before = gpu.stats().liveBytes;
  gpu.restartPeaks();
  const { indices } = vectorQuantize(
    tape.input(tokens, [rows, dimensions]),
    tape.input(table, [codes, dimensions]),
  );
  const peak = gpu.stats().peakLiveBytes - before;
  assert(peak < 4 * 2 ** 26, `${peak} bytes`);
  const found = await indices.readIndices();
  const distance = (n: number, k: number): number =>
    Math.hypot(tokens[2 * n]! - table[2 * k]!, tokens[2 * n + 1]! - table[2 * k + 1]!);
  for (let n = 0; n < rows; n++) {
    let least = Infinity;
    for (let k = 0; k < codes; k++) least = Math.min(least, distance(n, k));
    // A tie within rounding may fall to either.
    assert(distance(n, found[n]!) <= least + 1e-3, `token ${n}`);
  }
});
