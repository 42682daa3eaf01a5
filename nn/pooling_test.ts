import { assertEquals, assertThrows } from "@std/assert";
import { EXACT, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase } from "../tests/op_case.ts";
import { averagePool, type AveragePoolOptions, globalAveragePool, maxPool } from "./pooling.ts";
import { Tape } from "./tape.ts";

type Shape = [batch: number, height: number, width: number, channels: number];

function reference(
  x: number[],
  [batch, height, width, channels]: Shape,
  options: AveragePoolOptions & { maximum?: boolean },
): number[] {
  const { kernel, stride = kernel, padding = 0, includePadding = true, maximum } = options;
  const count = (size: number): number => Math.floor((size + 2 * padding - kernel) / stride) + 1;
  const y: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < count(height); i++) {
      for (let j = 0; j < count(width); j++) {
        for (let c = 0; c < channels; c++) {
          const values: number[] = [];
          for (let r = i * stride - padding; r < i * stride - padding + kernel; r++) {
            for (let s = j * stride - padding; s < j * stride - padding + kernel; s++) {
              if (r < 0 || r >= height || s < 0 || s >= width) continue;
              values.push(x[((b * height + r) * width + s) * channels + c]!);
            }
          }
          const sum = values.reduce((total, value) => total + value, 0);
          const divisor = includePadding ? kernel * kernel : values.length;
          y.push(maximum ? Math.max(...values) : sum / divisor);
        }
      }
    }
  }
  return y;
}

/** Distinct values a tenth apart, so that a finite difference never changes which is largest. */
function shuffled(count: number): number[] {
  let step = 7;
  while (count % step === 0) step += 2;
  return Array.from({ length: count }, (_, i) => (i * step % count) / 10);
}

function maxCase(
  name: string,
  shape: Shape,
  options: AveragePoolOptions,
  extra: Partial<OpCase> = {},
): OpCase {
  return {
    name,
    inputs: { x: { shape, values: shuffled(shape.reduce((a, b) => a * b)) } },
    run: ({ x }) => maxPool(x!, options),
    reference: ({ x }) => reference(x!, shape, { ...options, maximum: true }).map(Math.fround),
    close: EXACT,
    epsilon: 1e-3,
    ...extra,
  };
}

function averageCase(
  name: string,
  shape: Shape,
  options: AveragePoolOptions,
  extra: Partial<OpCase> = {},
): OpCase {
  return {
    name,
    inputs: { x: { shape } },
    run: ({ x }) => averagePool(x!, options),
    reference: ({ x }) => reference(x!, shape, options),
    close: REDUCTION,
    ...extra,
  };
}

checkOp("maxPool()", [
  maxCase("of 2x2 windows, 3 channels, odd extents", [2, 5, 7, 3], { kernel: 2 }),
  maxCase("of overlapping windows, vec4 channels", [1, 7, 9, 4], { kernel: 3, stride: 2 }, {
    half: ["x"],
  }),
  maxCase("with padding", [2, 4, 5, 3], { kernel: 3, stride: 1, padding: 1 }),
  maxCase("with windows further apart than wide", [1, 8, 8, 1], { kernel: 2, stride: 3 }),
  maxCase("of one pixel", [1, 1, 1, 5], { kernel: 1 }),
  maxCase("of images in ranges", [8, 4, 4, 4], { kernel: 2 }, { bindingLimit: 1024, half: ["x"] }),
]);

checkOp("averagePool()", [
  averageCase("of 2x2 windows, 3 channels, odd extents", [2, 5, 7, 3], { kernel: 2 }, {
    half: ["x"],
  }),
  averageCase("with padding that counts", [2, 4, 5, 4], { kernel: 3, stride: 1, padding: 1 }),
  averageCase("with padding that does not count", [2, 4, 5, 3], {
    kernel: 3,
    stride: 2,
    padding: 1,
    includePadding: false,
  }),
  averageCase("of images in ranges", [8, 4, 4, 4], { kernel: 2 }, {
    bindingLimit: 1024,
    half: ["x"],
  }),
]);

checkOp("globalAveragePool()", [{
  name: "of many positions",
  inputs: { x: { shape: [2, 17, 19, 6], offset: 10 } },
  run: ({ x }) => globalAveragePool(x!),
  reference: ({ x }) => {
    const sums = new Array<number>(12).fill(0);
    x!.forEach((value, i) => sums[Math.floor(i / (323 * 6)) * 6 + i % 6]! += value / 323);
    return sums;
  },
  close: REDUCTION,
}]);

gpuTest("maxPool() gives the gradient of a tie to the first in row-major order", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([1, 2, 2, 2, 2, 1]), [1, 2, 3, 1]);
  const y = maxPool(x, { kernel: 2, stride: 1 });
  const gradient = tape.input(new Float32Array([10, 100]), [1, 1, 2, 1]);
  const dx = tape.grad(y, [x], { gradient }).get(x)!;
  assertEquals([...await dx.read()], [0, 110, 0, 0, 0, 0]);
});

gpuTest("maxPool() rejects images smaller than a window", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(3), [1, 1, 3, 1]);
  assertThrows(
    () => maxPool(x, { kernel: 2 }),
    RangeError,
    "expected images of at least 2x2, found 1x3",
  );
  assertThrows(() => maxPool(x, { kernel: 1, padding: 1 }), RangeError, "half the kernel");
  assertThrows(() => maxPool(x, { kernel: 0 }), RangeError, "at least 1");
});
