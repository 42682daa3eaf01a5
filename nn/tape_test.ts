import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { gpuTest } from "../tests/op_case.ts";
import { square } from "./activation.ts";
import { cast } from "./cast.ts";
import { dropout } from "./dropout.ts";
import { add, mul, reshape, scale } from "./math.ts";
import { mean, sum } from "./reduce.ts";
import { Tape } from "./tape.ts";
import { type Operand, Parameter, type Tensor } from "./tensor.ts";

/** Bytes of a pooled buffer that holds `elements` elements. */
const bytesOf = (elements: number): number => Math.ceil(elements / 64) * 256;

const ones = (length: number): Float32Array => new Float32Array(length).fill(1);

gpuTest("a tape gives every buffer back, however often it is closed", (gpu) => {
  const before = gpu.stats().liveBytes;
  using tape = new Tape(gpu);
  square(tape.input(ones(1000), [1000]));
  assertEquals(gpu.stats().liveBytes - before, 2 * bytesOf(1000));
  tape[Symbol.dispose]();
  assertEquals(gpu.stats().liveBytes, before);
  tape[Symbol.dispose]();
  assertThrows(() => tape.alloc([1]), TypeError, "Cannot use a tape: expected an open one");
});

gpuTest("Tape.input() rejects data of another length", (gpu) => {
  using tape = new Tape(gpu);
  assertThrows(
    () => tape.input(ones(5), [2, 3]),
    RangeError,
    "Cannot make a tensor of shape [2,3]: expected 6 elements, found 5",
  );
});

gpuTest("Tape.view() rejects another number of elements", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(6), [2, 3]);
  assertEquals(tape.view(x, [3, 2]).shape, [3, 2]);
  assertThrows(() => tape.view(x, [4]), TypeError, "expected a shape of 6 elements, found [4]");
});

gpuTest("Tape.release() gives scratch back once, and never a parameter's buffer", (gpu) => {
  using parameter = new Parameter(gpu, [4]);
  using tape = new Tape(gpu);
  const x = tape.input(ones(4), [4]);
  const { liveBytes } = gpu.stats();
  tape.release(x);
  assertEquals(gpu.stats().liveBytes, liveBytes - bytesOf(4));
  assertThrows(() => tape.release(x), TypeError, "expected a live one, found it released");
  assertThrows(() => x.storage, TypeError, "expected a live one, found it released");
  assertThrows(() => tape.release(tape.constant(parameter)), TypeError, "found a parameter's");
});

gpuTest("Tape.scope() keeps results and what is retained, and frees the rest", async (gpu) => {
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(ones(8), [8]);
  let retained: Tensor | undefined, dropped: Tensor | undefined;
  const [y, z] = tape.scope(() => {
    retained = scale(x, 2);
    dropped = scale(x, 3);
    tape.retain(retained);
    return [scale(dropped, 4), reshape(scale(dropped, 5), [2, 4])];
  });
  assertEquals((await y!.read())[0], 12);
  assertEquals((await z!.read())[7], 15);
  assertEquals((await retained!.read())[0], 2);
  assertThrows(() => dropped!.storage, TypeError, "released");
});

gpuTest("Tape.scope() frees nothing while recording", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(8), [8]);
  const y = tape.scope(() => sum(square(square(x))));
  assertEquals([...await tape.grad(y, [x]).get(x)!.read()], Array(8).fill(4));
});

gpuTest("Tape.copy() takes a tensor over from another tape; gradients stop there", async (gpu) => {
  using outer = new Tape(gpu);
  let copy: Tensor;
  let x: Tensor;
  {
    using inner = new Tape(gpu);
    x = inner.input(ones(8), [2, 4]);
    copy = outer.copy(x);
  }
  assertEquals(copy.shape, [2, 4]);
  assertEquals([...await copy.read()], Array(8).fill(1));
  const same = outer.copy(copy);
  const loss = sum(square(same));
  const gradients = outer.grad(loss, [copy, same]);
  assertEquals(gradients.has(copy), false);
  assertEquals((await gradients.get(same)!.read())[0], 2);
});

gpuTest("Tape.keep() makes a parameter that outlives the tape", async (gpu) => {
  let kept: Parameter;
  {
    using tape = new Tape(gpu);
    kept = tape.keep(scale(tape.input(ones(3), [3]), 7));
  }
  assertEquals([...await kept.read()], [7, 7, 7]);
  assertEquals(kept.trainable, false);
  kept[Symbol.dispose]();
});

gpuTest(
  "random ops of a tape draw other numbers each, and the same on an equal tape",
  async (gpu) => {
    const draw = async (options: { seed: number; step: number }): Promise<Float32Array[]> => {
      using tape = new Tape(gpu, options);
      const x = tape.input(ones(64), [64]);
      return await Promise.all([dropout(x, 0.5).read(), dropout(x, 0.5).read()]);
    };
    const [first, second] = await draw({ seed: 1, step: 2 });
    assert(first!.some((value, i) => value !== second![i]));
    assertEquals(await draw({ seed: 1, step: 2 }), [first!, second!]);
    const [other] = await draw({ seed: 1, step: 3 });
    assert(first!.some((value, i) => value !== other![i]));
  },
);

gpuTest("Tape.grad() has no entry for what the loss does not depend on", async (gpu) => {
  using unused = new Parameter(gpu, [8]);
  using tape = new Tape(gpu);
  const x = tape.input(ones(8), [8]);
  const after = square(x);
  const loss = sum(x);
  const gradients = tape.grad(loss, [x, unused, after]);
  assertEquals([...gradients.keys()], [x]);
  assertEquals([...await gradients.get(x)!.read()], Array(8).fill(1));
});

gpuTest("Tape.grad() of a tensor by itself is the upstream gradient", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(1), [1]);
  const y = scale(x, 3);
  const gradients = tape.grad(y, [y, x]);
  assertEquals((await gradients.get(y)!.read())[0], 1);
  assertEquals((await gradients.get(x)!.read())[0], 3);
});

gpuTest("Tape.grad() leaves the caller's upstream gradient alone", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(4), [4]);
  const y = reshape(reshape(x, [2, 2]), [4]);
  const gradient = tape.input(new Float32Array([1, 2, 3, 4]), [4]);
  for (const last of [false, true]) {
    const dx = tape.grad(y, [x], { gradient, last }).get(x)!;
    assertStrictEquals(dx.storage, gradient.storage);
    assertEquals([...await gradient.read()], [1, 2, 3, 4]);
  }
});

gpuTest("Tape.grad() wants a scalar or an upstream gradient, and a tape that records", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(4), [4]);
  assertThrows(
    () => tape.grad(square(x), [x]),
    TypeError,
    "expected a scalar or an upstream gradient, found shape [4]",
  );
  using silent = new Tape(gpu, { record: false });
  const y = silent.input(ones(1), [1]);
  assertThrows(() => silent.grad(y, [y]), TypeError, "expected a tape that records");
});

gpuTest("Tape.grad() frees what it made on the way but the wanted gradients", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(1000), [1000]);
  const loss = sum(square(square(square(x))));
  const before = gpu.stats().liveBytes;
  const dx = tape.grad(loss, [x]).get(x)!;
  assertEquals(gpu.stats().liveBytes - before, bytesOf(1000));
  tape.release(dx);
  assertEquals(gpu.stats().liveBytes, before);
});

gpuTest("Tape.grad() frees scratch that a backward leaves behind", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(4), [4]);
  const y = tape.record("scratch", tape.alloc([4]), [x], (dy) => {
    tape.alloc([1000]);
    return [dy];
  });
  const gradient = tape.input(ones(4), [4]);
  const before = gpu.stats().liveBytes;
  tape.grad(y, [x], { gradient });
  assertEquals(gpu.stats().liveBytes, before);
});

gpuTest("Tape.grad() walks a tape twice with equal results", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([1, 2, 3]), [3]);
  const loss = sum(mul(square(x), x));
  const first = await tape.grad(loss, [x]).get(x)!.read();
  assertEquals(await tape.grad(loss, [x]).get(x)!.read(), first);
  assertEquals([...first], [3, 12, 27]);
});

gpuTest("a last walk frees the values behind it, but inputs and what is retained", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(1000), [1000]);
  const before = gpu.stats().liveBytes;
  const inner = scale(x, 2);
  const middle = square(inner);
  tape.retain(middle);
  const loss = sum(square(middle));
  const dx = tape.grad(loss, [x], { last: true }).get(x)!;
  assertEquals(gpu.stats().liveBytes - before, 2 * bytesOf(1000), "middle and the gradient");
  assertEquals((await dx.read())[0], 64);
  assertEquals((await middle.read())[0], 4);
  assertThrows(() => inner.storage, TypeError, "released");
  assertEquals((await x.read())[0], 1);
  assertEquals(tape.grad(loss, [x]).size, 0, "nothing is left to walk");
});

gpuTest("Tape.grad() shows every gradient with the op that made it", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(2), [2]);
  const loss = sum(scale(square(x), 3));
  const seen: [string, Promise<Float32Array>][] = [];
  tape.grad(loss, [x], { inspect: (op, gradient) => seen.push([op, gradient.read()]) });
  const values = await Promise.all(seen.map(([, reading]) => reading));
  assertEquals(seen.map(([op]) => op), ["sum", "scale", "square"]);
  assertEquals(values.map((value) => [...value]), [[1, 1], [3, 3], [6, 6]]);
});

gpuTest("Tape.grad() names an op whose gradient has another size", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(ones(2), [2]);
  const y = tape.record("wrong", tape.alloc([1]), [x], (dy) => [dy]);
  assertThrows(
    () => tape.grad(y, [x]),
    TypeError,
    "Cannot differentiate wrong: expected a gradient of shape [2], found [1]",
  );
});

gpuTest(
  "Tape.firstNonFinite() names the op, in the forward pass before the backward",
  async (gpu) => {
    using tape = new Tape(gpu);
    const x = tape.input(new Float32Array([1, 1e19]), [2]);
    const fine = mean(x);
    assertEquals(await tape.firstNonFinite(fine, [x]), undefined);
    const large = square(scale(square(x), 1e10));
    const loss = mean(add(large, large));
    assertEquals(await tape.firstNonFinite(loss, [x]), "scale");
  },
);

gpuTest("Tape.firstNonFinite() finds a gradient that overflows", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([1e-30]), [1]);
  const loss = scale(scale(square(x), 1e30), 1e30);
  assertEquals((await loss.read())[0], 0, "the value underflows, its gradient does not");
  assertEquals(await tape.firstNonFinite(loss, [x]), "scale backward");
});

gpuTest("a tensor of a closed tape cannot be read", async (gpu) => {
  let leaked: Tensor;
  {
    using tape = new Tape(gpu);
    leaked = tape.input(ones(1), [1]);
  }
  await assertRejects(() => leaked.read(), TypeError, "expected an open tape, found it closed");
});

gpuTest("Tape.repeated() copies a weight that is read again, while memory is left", async () => {
  for (const byteBudget of [Infinity, 2 ** 14]) {
    using gpu = await Gpu.open({ byteBudget });
    using weight = new Parameter(gpu, [8, 64]);
    using recording = new Tape(gpu);
    const copies = gpu.adapter.software && byteBudget === Infinity;
    {
      using tape = new Tape(gpu, { record: false });
      assertStrictEquals(tape.repeated(weight.storage, 64), weight.storage);
      const again = tape.repeated(weight.storage, 64);
      assertEquals(again.texture !== undefined, copies);
      assertStrictEquals(tape.repeated(weight.storage, 64), again);
      assertEquals(gpu.stats().liveBytes > 2 * 2048, copies);
    }
    assertEquals(gpu.stats().liveBytes, 2048);
    recording.repeated(weight.storage, 64);
    assertStrictEquals(recording.repeated(weight.storage, 64), weight.storage);
  }
});

gpuTest("Tape.repeating() lets weights be copied when they are first read", (gpu) => {
  using weight = new Parameter(gpu, [8, 64]);
  using other = new Parameter(gpu, [8, 64]);
  using tape = new Tape(gpu, { record: false });
  const first = tape.repeating(() => tape.repeated(weight.storage, 64));
  assertEquals(first.texture !== undefined, gpu.adapter.software);
  assertStrictEquals(tape.repeated(weight.storage, 64), first);
  assertThrows(() =>
    tape.repeating(() => {
      throw new RangeError("a part that fails");
    }), RangeError);
  assertStrictEquals(tape.repeated(other.storage, 64), other.storage);
});

gpuTest(
  "Tape.narrow() copies a weight once, past scopes and walks, until it closes",
  async (gpu) => {
    using weight = new Parameter(gpu, [3]);
    weight.write(new Float32Array([1, 1 + 2 ** -11, -2]));
    using tape = new Tape(gpu, { record: false });
    assertStrictEquals(tape.narrow(weight, "f32"), weight);
    const before = gpu.stats().liveBytes;
    let copy: Operand | undefined;
    tape.scope(() => {
      copy = tape.narrow(weight, "f16");
      return tape.zeros([1]);
    });
    assertStrictEquals(tape.narrow(weight, "f16"), copy);
    assertEquals(await tape.constant(copy!).read(), new Float32Array([1, 1, -2]));
    assertEquals(gpu.stats().liveBytes - before, 2 * bytesOf(1));
    const indices = tape.input(new Uint32Array(1), [1]);
    assertStrictEquals(tape.narrow(indices, "f16"), indices);

    using recording = new Tape(gpu);
    const x = recording.input(new Float16Array([1, 2, 3]), [3]);
    const product = (operand: Operand): Tensor => {
      const half = recording.constant(recording.narrow(operand, "f16"));
      const y = mul(x, half);
      return recording.record("product", y, [operand], (dy) => [cast(mul(dy, x), "f32")]);
    };
    const loss = product(weight);
    const gradient = recording.input(new Float16Array([1, 1, 1]), [3]);
    const gradients = recording.grad(loss, [weight], { gradient, last: true });
    assertEquals(await gradients.get(weight)!.read(), new Float32Array([1, 2, 3]));
    assertEquals(
      await recording.constant(recording.narrow(weight, "f16")).read(),
      new Float32Array([1, 1, -2]),
    );
  },
);
