import { assert, assertEquals, assertThrows } from "@std/assert";
import { sum } from "../nn/reduce.ts";
import { Tape } from "../nn/tape.ts";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { Lpips } from "./lpips.ts";

const SIZES = { widths: [4, 6, 5, 8, 7] };
const SHAPE = [2, 16, 20, 3];
const COUNT = 2 * 16 * 20 * 3;

gpuTest("Lpips.forward() is 0 for equal images and positive for others", async (gpu) => {
  using lpips = new Lpips(gpu, SIZES);
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(randomNumbers(COUNT, "x"), SHAPE);
  const y = tape.input(randomNumbers(COUNT, "y"), SHAPE);
  assertEquals([...await lpips.forward(x, x).read()], [0, 0]);
  const distances = await lpips.forward(x, y).read();
  assert(distances.every((distance) => distance > 0));
  const layers = await Promise.all(lpips.layers(x, y).map((layer) => layer.read()));
  const sums = [0, 1].map((image) => layers.reduce((total, layer) => total + layer[image]!, 0));
  assertClose(distances, sums, REDUCTION, "sum of layers");
});

gpuTest("Lpips.features() halves the resolution at each block", (gpu) => {
  using lpips = new Lpips(gpu, SIZES);
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(randomNumbers(COUNT, "x"), SHAPE);
  assertEquals(lpips.features(x).map(({ shape }) => shape), [
    [2, 16, 20, 4],
    [2, 8, 10, 6],
    [2, 4, 5, 5],
    [2, 2, 2, 8],
    [2, 1, 1, 7],
  ]);
});

gpuTest("Lpips gives the reconstruction a gradient and trains nothing", async (gpu) => {
  using lpips = new Lpips(gpu, SIZES);
  assertEquals(lpips.trainableParameters(), []);
  using tape = new Tape(gpu);
  const x = tape.input(randomNumbers(COUNT, "x"), SHAPE);
  const y = tape.input(randomNumbers(COUNT, "y"), SHAPE);
  const dy = await tape.grad(sum(lpips.forward(x, y)), [y]).get(y)!.read();
  assert(dy.every(Number.isFinite) && dy.some((value) => value !== 0));
});

gpuTest("Lpips starts with weights hashed from the reference's names", async (gpu) => {
  using lpips = new Lpips(gpu, { widths: [64, 1, 1, 1, 3] });
  const parameters = new Map(lpips.namedParameters());
  // (height, width, in, out) here, (out, in, height, width) in the reference.
  const first = await parameters.get("net.slice1.0.weight")!.read();
  const found = [first[0], first[3 * 64], first[2 * 3 * 64]];
  assertClose(
    found.map(Number),
    [0.09122022241353989, 0.4709970951080322, 0.39411646127700806],
    REDUCTION,
    "net.slice1.0.weight",
  );
  assertClose(
    await parameters.get("lin4.model.1.weight")!.read(),
    [0.5654842853546143, 0.48679500818252563, 0.2405153512954712],
    REDUCTION,
    "lin4.model.1.weight",
  );
  assertEquals(await parameters.get("net.slice1.0.bias")!.read(), new Float32Array(64));
  using salted = new Lpips(gpu, { widths: [64, 1, 1, 1, 3], salt: 1 });
  const other = await new Map(salted.namedParameters()).get("net.slice1.0.weight")!.read();
  assert(other[0] !== first[0]);
});

gpuTest("Lpips rejects another number of blocks", (gpu) => {
  assertThrows(
    () => new Lpips(gpu, { widths: [4, 4] }),
    RangeError,
    "expected 5 positive numbers of channels, found [4,4]",
  );
});
