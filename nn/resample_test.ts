import { assertThrows } from "@std/assert";
import { EXACT, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase } from "../tests/op_case.ts";
import { resizeBilinear, upsampleNearest2 } from "./resample.ts";
import { Tape } from "./tape.ts";

type Shape = [batch: number, height: number, width: number, channels: number];

/** Calls `pixel` for every output element in order. */
function forEachOutput(
  [batch, , , channels]: Shape,
  [height, width]: [number, number],
  pixel: (b: number, i: number, j: number, c: number) => number,
): number[] {
  const y: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        for (let c = 0; c < channels; c++) y.push(pixel(b, i, j, c));
      }
    }
  }
  return y;
}

function doubleCase(name: string, shape: Shape, extra: Partial<OpCase> = {}): OpCase {
  const [, height, width, channels] = shape;
  return {
    name,
    inputs: { x: { shape } },
    run: ({ x }) => upsampleNearest2(x!),
    reference: ({ x }) =>
      forEachOutput(
        shape,
        [2 * height, 2 * width],
        (b, i, j, c) => x![((b * height + (i >> 1)) * width + (j >> 1)) * channels + c]!,
      ),
    close: EXACT,
    ...extra,
  };
}

function bilinearCase(
  name: string,
  shape: Shape,
  output: [number, number],
  extra: Partial<OpCase> = {},
): OpCase {
  const [, height, width, channels] = shape;
  const taps = (place: number, size: number, outputSize: number): [number, number, number] => {
    const source = Math.max(size / outputSize * (place + 0.5) - 0.5, 0);
    const first = Math.min(Math.floor(source), size - 1);
    return [first, Math.min(first + 1, size - 1), source - first];
  };
  return {
    name,
    inputs: { x: { shape } },
    run: ({ x }) => resizeBilinear(x!, { height: output[0], width: output[1] }),
    reference: ({ x }) =>
      forEachOutput(shape, output, (b, i, j, c) => {
        const [top, bottom, v] = taps(i, height, output[0]);
        const [left, right, u] = taps(j, width, output[1]);
        const at = (r: number, s: number): number =>
          x![((b * height + r) * width + s) * channels + c]!;
        return (1 - v) * ((1 - u) * at(top, left) + u * at(top, right)) +
          v * ((1 - u) * at(bottom, left) + u * at(bottom, right));
      }),
    close: REDUCTION,
    ...extra,
  };
}

checkOp("upsampleNearest2()", [
  doubleCase("of 3 channels and odd extents", [2, 5, 7, 3], { half: ["x"] }),
  doubleCase("of one pixel", [1, 1, 1, 1]),
  doubleCase("of vec4 channels, in ranges within an image", [1, 8, 4, 8], {
    bindingLimit: 1024,
    half: ["x"],
  }),
]);

checkOp("resizeBilinear()", [
  bilinearCase("up", [2, 5, 7, 3], [13, 11], { half: ["x"] }),
  bilinearCase("down", [2, 5, 7, 4], [3, 4]),
  bilinearCase("far down", [1, 17, 23, 2], [2, 3]),
  bilinearCase("far up", [1, 2, 3, 4], [29, 31]),
  bilinearCase("to the same size", [1, 5, 7, 3], [5, 7], { close: EXACT }),
  bilinearCase("of one pixel", [1, 1, 1, 3], [4, 2]),
  bilinearCase("of images in ranges", [8, 4, 4, 4], [2, 6], { bindingLimit: 1024, half: ["x"] }),
]);

gpuTest("resizeBilinear() rejects an empty result", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(3), [1, 1, 3, 1]);
  assertThrows(() => resizeBilinear(x, { height: 0, width: 2 }), RangeError, "found 0x2");
  assertThrows(() => upsampleNearest2(tape.view(x, [3])), TypeError, "batch, height");
});
