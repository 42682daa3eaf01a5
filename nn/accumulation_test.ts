import { assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { GradientAccumulator } from "./accumulation.ts";
import { Tape } from "./tape.ts";
import { type Operand, Parameter, type Tensor } from "./tensor.ts";

gpuTest("GradientAccumulator adds over tapes, and starts again after take()", async (gpu) => {
  using a = new Parameter(gpu, [2]);
  using b = new Parameter(gpu, [1]);
  using sums = new GradientAccumulator();
  const add = (values: Float32Array, operand: Operand, factor: number): void => {
    using tape = new Tape(gpu);
    const gradient = tape.input(values, [values.length]);
    sums.add(new Map<Operand, Tensor>([[operand, gradient], [gradient, gradient]]), factor);
  };
  add(new Float32Array([1, 2]), a, 0.5);
  add(new Float32Array([4]), b, 1);
  add(new Float32Array([10, 20]), a, 0.5);
  using tape = new Tape(gpu);
  const taken = sums.take(tape);
  assertEquals([...taken.keys()], [a, b]);
  assertEquals([...await taken.get(a)!.read()], [5.5, 11]);
  assertEquals([...await taken.get(b)!.read()], [4]);
  const live = gpu.stats().liveBytes;
  add(new Float32Array([7, 8]), a, 1);
  const again = sums.take(tape);
  assertEquals([...again.keys()], [a]);
  assertEquals([...await again.get(a)!.read()], [7, 8]);
  assertEquals(gpu.stats().liveBytes, live);
});
