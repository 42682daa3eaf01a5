import { assertEquals, assertThrows } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { Gpu } from "./gpu.ts";
import { matmul, type MatmulOptions } from "./matmul.ts";
import { tileFor } from "./matmul_choice.ts";
import { texelsOf } from "./matmul_texels.ts";
import type { Tile } from "./matmul_tile.ts";
import { type Slice, subslice } from "./slice.ts";

/** Tiles of every adapter class are right on every adapter. */
const GPU = { name: "a GPU", vendor: "", software: false, subgroupSize: 0 };

interface Sizes {
  rows: number;
  columns: number;
  inner: number;
}

interface Matrices {
  a: Float32Array;
  b: Float32Array;
  bias: Float32Array;
}

function hostMatmul(
  { rows, columns, inner }: Sizes,
  { a, b, bias }: Matrices,
  options: { transposeA: boolean; transposeB: boolean; batch: number; alpha: number },
): Float64Array {
  const { transposeA, transposeB, batch, alpha } = options;
  const c = new Float64Array(batch * rows * columns);
  for (let n = 0; n < batch; n++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let sum = 0;
        for (let k = 0; k < inner; k++) {
          sum += a[n * rows * inner + (transposeA ? k * rows + i : i * inner + k)]! *
            b[n * columns * inner + (transposeB ? j * inner + k : k * columns + j)]!;
        }
        c[(n * rows + i) * columns + j] = alpha * sum + bias[j]!;
      }
    }
  }
  return c;
}

/** Uploads operands, multiplies, reads the product, gives all buffers back. */
async function product(
  gpu: Gpu,
  data: { a: Float32Array; b: Float32Array; bias?: Float32Array; c: Float32Array },
  options: Omit<MatmulOptions, "a" | "b" | "c" | "bias"> & {
    a?: Partial<MatmulOptions["a"]>;
    b?: Partial<MatmulOptions["b"]>;
    c?: Partial<MatmulOptions["c"]>;
  },
): Promise<Float32Array> {
  const upload = (values: Float32Array): ReturnType<Gpu["acquire"]> => {
    const slice = gpu.acquire(values.byteLength);
    gpu.upload(slice, values);
    return slice;
  };
  const a = upload(data.a);
  const b = upload(data.b);
  const c = upload(data.c);
  const bias = data.bias && upload(data.bias);
  matmul(gpu, {
    ...options,
    a: { slice: a, ...options.a },
    b: { slice: b, ...options.b },
    c: { slice: c, ...options.c },
    bias,
  });
  const [bytes] = await gpu.read([c]);
  for (const slice of [a, b, c, bias]) if (slice) gpu.release(slice);
  return new Float32Array(bytes!);
}

const SIZES: Sizes[] = [
  { rows: 1, columns: 1, inner: 1 },
  { rows: 3, columns: 260, inner: 36 },
  { rows: 4, columns: 7, inner: 13 },
  { rows: 70, columns: 3, inner: 20 },
  { rows: 33, columns: 12, inner: 27 },
  { rows: 37, columns: 68, inner: 40 },
  { rows: 66, columns: 35, inner: 21 },
  { rows: 132, columns: 200, inner: 72 },
];

for (const sizes of SIZES) {
  const { rows, columns, inner } = sizes;
  gpuTest(`matmul() of ${rows}x${inner} by ${inner}x${columns} in every layout`, async (gpu) => {
    const batch = 2;
    const shape = { ...sizes, batch };
    const matrices = {
      a: randomNumbers(batch * rows * inner, "a").map((value) => value / Math.sqrt(inner)),
      b: randomNumbers(batch * columns * inner, "b"),
      bias: randomNumbers(columns, "bias"),
    };
    using limited = await Gpu.open({ maxBindingBytes: 8192, leastTexelBytes: 0 });
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const layout = { transposeA, transposeB, alpha: 0.5 };
        const want = hostMatmul(sizes, matrices, { ...layout, batch });
        const c = new Float32Array(want.length).fill(NaN);
        const runs: [string, Gpu, Tile][] = [
          ["whole", gpu, tileFor(shape, gpu.adapter)],
          ["in parts, of texels", limited, tileFor(shape, gpu.adapter)],
          ["with the tile of a GPU", gpu, tileFor(shape, GPU)],
        ];
        for (const [name, device, tile] of runs) {
          const found = await product(device, { ...matrices, c }, {
            ...sizes,
            ...layout,
            tile,
            batch: [batch, 1],
          });
          assertClose(found, want, REDUCTION, `${name}, transposed ${transposeA}, ${transposeB}`);
        }
      }
    }
  });
}

gpuTest("matmul() divides long sums of few products", async (gpu) => {
  const sizes = { rows: 20, columns: 24, inner: 2100 };
  const { rows, columns, inner } = sizes;
  const matrices = {
    a: randomNumbers(rows * inner, "a").map((value) => value / Math.sqrt(inner)),
    b: randomNumbers(columns * inner, "b"),
    bias: new Float32Array(columns),
  };
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      const layout = { transposeA, transposeB, alpha: 0.5 };
      const before = gpu.stats().dispatches;
      const found = await product(
        gpu,
        { a: matrices.a, b: matrices.b, c: new Float32Array(rows * columns) },
        { ...sizes, ...layout },
      );
      assertEquals(gpu.stats().dispatches > before + 1, true, "partial sums");
      const want = hostMatmul(sizes, matrices, { ...layout, batch: 1 });
      assertClose(found, want, REDUCTION, `transposed ${transposeA}, ${transposeB}`);
    }
  }
});

gpuTest("matmul() reads heads in place", async (gpu) => {
  const [images, tokens, heads, headSize] = [2, 5, 3, 8];
  const q = randomNumbers(images * tokens * heads * headSize, "q");
  const k = randomNumbers(images * tokens * heads * headSize, "k");
  const want: number[] = [];
  for (let image = 0; image < images; image++) {
    for (let head = 0; head < heads; head++) {
      for (let i = 0; i < tokens; i++) {
        for (let j = 0; j < tokens; j++) {
          let sum = 0;
          for (let e = 0; e < headSize; e++) {
            sum += q[((image * tokens + i) * heads + head) * headSize + e]! *
              k[((image * tokens + j) * heads + head) * headSize + e]!;
          }
          want.push(sum);
        }
      }
    }
  }
  const strides = {
    rowStride: heads * headSize,
    batchStrides: [tokens * heads * headSize, headSize],
  } as const;
  const found = await product(gpu, { a: q, b: k, c: new Float32Array(want.length) }, {
    rows: tokens,
    columns: tokens,
    inner: headSize,
    transposeB: true,
    batch: [images, heads],
    a: strides,
    b: strides,
  });
  assertClose(found, want, REDUCTION, "scores");
});

gpuTest("matmul() adds to what is there, at an offset", async (gpu) => {
  const found = await product(
    gpu,
    {
      a: new Float32Array([9, 1, 2]),
      b: new Float32Array([3, 4]),
      c: new Float32Array([5, 6, 7, 8]),
    },
    {
      rows: 1,
      columns: 2,
      inner: 1,
      alpha: 10,
      accumulate: true,
      a: { offset: 1 },
      c: { offset: 2 },
    },
  );
  assertEquals([...found], [5, 6, 37, 48]);
});

// 576 columns are a tile's, twice divided: a software adapter computes them in bands.
for (const [columns, transposeB] of [[516, true], [576, true], [576, false]] as const) {
  const layout = transposeB ? "B transposed" : "B as it is";
  gpuTest(
    `matmul() of large operands, ${columns} columns, ${layout}, reads copies in textures`,
    async (gpu) => {
      const sizes = { rows: 260, columns, inner: 1024 };
      const { rows, inner } = sizes;
      const a = randomNumbers(rows * inner, "a").map((value) => value / Math.sqrt(inner));
      const b = randomNumbers(columns * inner, "b");
      const before = gpu.stats().copiedBytes;
      const data = { a, b, c: new Float32Array(rows * columns) };
      const found = await product(gpu, data, { ...sizes, transposeB });
      const copied = gpu.stats().copiedBytes - before - found.byteLength;
      assertEquals(copied, gpu.leastTexelBytes < Infinity ? a.byteLength + b.byteLength : 0);
      const [row, column] = [rows - 1, columns - 1];
      for (const [i, j] of [[0, 0], [1, column], [131, 257], [131, 288], [row, 0], [row, column]]) {
        let want = 0;
        for (let k = 0; k < inner; k++) {
          want += a[i! * inner + k]! * b[transposeB ? j! * inner + k : k * columns + j!]!;
        }
        assertClose([found[i! * columns + j!]!], [want], REDUCTION, `row ${i}, column ${j}`);
      }
    },
  );
}

gpuTest("matmul() reads operands that are in textures already, from an offset on", async () => {
  using gpu = await Gpu.open({ leastTexelBytes: 0 });
  const sizes = { rows: 68, columns: 36, inner: 40 };
  const [rows, inner] = [sizes.rows, sizes.inner];
  const whole = ["a", "b"].map((name) => {
    const slice = gpu.acquire(4 * 4200);
    gpu.upload(slice, randomNumbers(4200, name));
    // A slice that does not begin with its buffer.
    return subslice(slice, 1024, slice.bytes - 1024);
  });
  const [a, b] = whole as [Slice, Slice];
  const texels = whole.map((slice) => texelsOf(gpu, slice));
  const c = gpu.acquire(4 * rows * sizes.columns);
  const numbers = randomNumbers(4200, "a").subarray(256);
  for (const transposeA of [false, true]) {
    // Vectors of four cannot begin at the second offset, so that the buffer is read.
    for (const offset of [1040, 1042]) {
      const before = gpu.stats().copiedBytes;
      const operands = {
        a: { slice: a, texels: texels[0], offset },
        b: { slice: b, texels: texels[1] },
        c: { slice: c },
      };
      matmul(gpu, { ...sizes, ...operands, transposeA });
      assertEquals(gpu.stats().copiedBytes, before, "copies in textures");
      const found = new Float32Array((await gpu.read([c]))[0]!);
      const want = hostMatmul(sizes, {
        a: numbers.subarray(offset, offset + rows * inner),
        b: randomNumbers(4200, "b").subarray(256),
        bias: new Float32Array(sizes.columns),
      }, { transposeA, transposeB: false, batch: 1, alpha: 1 });
      assertClose(found, want, REDUCTION, `transposed ${transposeA}, offset ${offset}`);
    }
  }
  for (const slice of [...whole, ...texels, c]) gpu.release(slice!);
});

gpuTest("matmul() adds a residual that begins elsewhere than C", async (gpu) => {
  const [rows, columns, offset] = [3, 5, 71];
  const slices = ["a", "b", "c", "all"].map((name) => {
    const slice = gpu.acquire(4 * 128);
    gpu.upload(slice, randomNumbers(128, name));
    return slice;
  }) as [Slice, Slice, Slice, Slice];
  const [a, b, c, all] = slices;
  const first = 9;
  const residual = subslice(all, 4 * first, 4 * rows * columns);
  const product = { a: { slice: a }, b: { slice: b }, rows, columns, inner: 1 };
  matmul(gpu, { ...product, c: { slice: c, offset }, residual, alpha: 2 });
  const [x, y, z, r] = (await gpu.read(slices)).map((bytes) => new Float32Array(bytes)) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const want = Array.from(
    { length: rows * columns },
    (_, i) => 2 * x[Math.floor(i / columns)]! * y[i % columns]! + r[first + i]!,
  );
  assertClose(z.subarray(offset, offset + want.length), want, REDUCTION, "product");
  for (const slice of slices) gpu.release(slice);
});

gpuTest("matmul() rejects operands that end past their slice", (gpu) => {
  const a = gpu.acquire(16);
  const error = assertThrows(
    () =>
      matmul(gpu, {
        a: { slice: a },
        b: { slice: a },
        c: { slice: a },
        rows: 2,
        columns: 2,
        inner: 3,
      }),
    RangeError,
  );
  assertEquals(
    error.message,
    "Cannot multiply matrices: expected A within 16 bytes, found it to end at 24",
  );
  gpu.release(a);
});
