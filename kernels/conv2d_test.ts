import { assertThrows } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import {
  conv2dForward,
  type Conv2dGeometry,
  conv2dInputGradient,
  conv2dOutputSize,
  type Conv2dTiling,
  conv2dWeightGradient,
} from "./conv2d.ts";
import { GpuMemoryError } from "./errors.ts";
import { Gpu } from "./gpu.ts";
import type { Tile } from "./matmul_tile.ts";
import type { Slice } from "./slice.ts";

const SAME = [1, 1, 1, 1] as const;

const GEOMETRIES: Record<string, Conv2dGeometry> = {
  "3x3 of channels by fours": {
    batch: 2,
    height: 9,
    width: 7,
    inputs: 20,
    outputs: 36,
    kernel: [3, 3],
    stride: 1,
    padding: SAME,
  },
  "3x3 of many channels": {
    batch: 1,
    height: 8,
    width: 8,
    inputs: 64,
    outputs: 68,
    kernel: [3, 3],
    stride: 1,
    padding: SAME,
  },
  "3x3 of weights that no cache of a core holds": {
    batch: 1,
    height: 7,
    width: 6,
    inputs: 256,
    outputs: 128,
    kernel: [3, 3],
    stride: 1,
    padding: SAME,
  },
  "4x4 with stride 2 of odd channels": {
    batch: 2,
    height: 11,
    width: 10,
    inputs: 5,
    outputs: 7,
    kernel: [4, 4],
    stride: 2,
    padding: SAME,
  },
  "3x3 with stride 2, padded at the end, to 3 channels": {
    batch: 2,
    height: 12,
    width: 10,
    inputs: 8,
    outputs: 3,
    kernel: [3, 3],
    stride: 2,
    padding: [0, 1, 0, 1],
  },
};

/** Output, input gradient and weight gradient of a convolution of random numbers. */
async function products(
  gpu: Gpu,
  geometry: Conv2dGeometry,
  tiling: Conv2dTiling = {},
): Promise<Float32Array[]> {
  const { batch, height, width, inputs, outputs, kernel } = geometry;
  const { outHeight, outWidth } = conv2dOutputSize(geometry);
  const slices: Slice[] = [];
  const acquire = (count: number, seed?: string): Slice => {
    const slice = gpu.acquire(4 * count);
    // Products of about 1/16, so that sums of some hundred of them are of the size of 1.
    if (seed !== undefined) gpu.upload(slice, randomNumbers(count, seed).map((v) => v / 4));
    slices.push(slice);
    return slice;
  };
  const x = acquire(batch * height * width * inputs, "x");
  const dy = acquire(batch * outHeight * outWidth * outputs, "dy");
  const weight = acquire(kernel[0] * kernel[1] * inputs * outputs, "weight");
  const bias = acquire(outputs, "bias");
  const residual = acquire(dy.bytes / 4, "residual");
  const y = acquire(dy.bytes / 4);
  const dx = acquire(x.bytes / 4);
  const dweight = acquire(weight.bytes / 4);
  conv2dForward(gpu, { x, weight, bias, residual, y }, geometry, tiling);
  conv2dInputGradient(gpu, { dy, weight, dx }, geometry, tiling);
  conv2dWeightGradient(gpu, { x, dy, dweight }, geometry, tiling);
  const found = await gpu.read([y, dx, dweight]);
  for (const slice of slices) gpu.release(slice);
  return found.map((bytes) => new Float32Array(bytes));
}

/** A small tile of each family that this adapter can run. */
function tilesOf({ adapter }: Gpu, outputs: number): Tile[] {
  const lanes = adapter.subgroupSize;
  const register = { family: "register", rows: 8, columns: outputs < 4 ? outputs : 4 } as const;
  const dot = { family: "dot", lanesY: 2, rows: 1, columns: 4 } as const;
  const tiles: Tile[] = [
    { ...register, lanesX: 2, lanesY: 4 },
    { family: "workgroup", lanesX: 8, lanesY: 8, rows: 4, columns: 4 },
    { ...dot, lanesX: 16 },
  ];
  if (lanes > 0) {
    tiles.push(
      { ...register, lanesX: lanes, lanesY: 1, broadcast: "a" },
      { ...register, lanesX: 1, lanesY: lanes, broadcast: "b" },
      { ...dot, lanesX: lanes, lanesY: 1, subgroupSum: true },
    );
  }
  return tiles;
}

let turn = 0;
for (const [name, geometry] of Object.entries(GEOMETRIES)) {
  gpuTest(`conv2d of ${name} gives the same with every family of tiles`, async (gpu) => {
    const want = await products(gpu, geometry);
    using textured = await Gpu.open({ leastTexelBytes: 0 });
    for (const tile of tilesOf(gpu, geometry.outputs)) {
      // Both ways of binding, in turn: every family and every geometry meets each.
      turn++;
      const found = await products(turn % 2 === 0 ? gpu : textured, geometry, { tile });
      for (const [i, what] of ["output", "input gradient", "weight gradient"].entries()) {
        assertClose(found[i]!, want[i]!, REDUCTION, `${what}, ${JSON.stringify(tile)}`);
      }
    }
  });
}

gpuTest("conv2dForward() rejects weights that no binding holds", async () => {
  using gpu = await Gpu.open({ maxBindingBytes: 4096 });
  const slice = gpu.acquire(1 << 16);
  assertThrows(
    () =>
      conv2dForward(gpu, { x: slice, weight: slice, y: slice }, {
        batch: 1,
        height: 4,
        width: 4,
        inputs: 16,
        outputs: 16,
        kernel: [3, 3],
        stride: 1,
        padding: SAME,
      }),
    GpuMemoryError,
    "expected one line of an image and the weights within 4096 bytes each",
  );
});
