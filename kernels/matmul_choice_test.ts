import { assertEquals } from "@std/assert";
import { assertClose, HALF, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import type { AdapterDescription, Gpu } from "./gpu.ts";
import { matmul } from "./matmul.ts";
import { adapterClass, tileCandidates, tileFor } from "./matmul_choice.ts";
import { type Tile, tileColumns, tileRows } from "./matmul_tile.ts";
import type { Slice } from "./slice.ts";

const CPU = { name: "a CPU", vendor: "", software: true, subgroupSize: 0 };
/** Adapters whose tiles are checked on the adapter at hand; those with subgroups have its size. */
const ADAPTERS = [CPU, { ...CPU, software: false }, { ...CPU, name: "GeForce", software: false }];

/** Rows, columns, inner extent, and whether B is transposed; one of each shape class, none a multiple of a tile. */
const SHAPES: Record<string, readonly [number, number, number, ...boolean[]]> = {
  "a square": [70, 75, 37, false],
  "a square of vectors": [68, 76, 36, true],
  "three columns": [75, 3, 27, false, true],
  "one column": [75, 1, 36, true],
  "eight columns": [70, 8, 12, false],
  "sixteen columns": [70, 16, 40, true],
  "one row": [1, 52, 260, false, true],
  "three rows": [3, 37, 45, true],
  "eight rows": [8, 70, 36, false],
  "one number": [1, 1, 1, true],
};

/** Tiles of all adapters for a shape. */
function candidatesOf(
  gpu: Gpu,
  [rows, columns, inner]: readonly [number, number, number, ...boolean[]],
): Tile[] {
  const tiles = ADAPTERS.flatMap((adapter) =>
    [0, gpu.adapter.subgroupSize].flatMap((subgroupSize) =>
      tileCandidates({ rows, columns, inner, batch: 1 }, { ...adapter, subgroupSize })
    )
  );
  return [...new Map(tiles.map((tile) => [JSON.stringify(tile), tile])).values()];
}

for (const [name, shape] of Object.entries(SHAPES)) {
  gpuTest(`every tile for ${name} gives the product in double precision`, async (gpu) => {
    const [rows, columns, inner, ...layouts] = shape;
    const a = randomNumbers(rows * inner, "a").map((value) => value / Math.sqrt(inner));
    const b = randomNumbers(inner * columns, "b");
    const slices = [a, b].map((values) => {
      const slice = gpu.acquire(values.byteLength);
      gpu.upload(slice, values);
      return slice;
    }) as [Slice, Slice];
    const c = gpu.acquire(4 * rows * columns);
    for (const tile of candidatesOf(gpu, shape)) {
      // B as weights of shape (outputs, inputs), and as a matrix of inner rows.
      for (const transposeB of layouts) {
        const want = Float64Array.from({ length: rows * columns }, (_, at) => {
          const [i, j] = [Math.floor(at / columns), at % columns];
          let sum = 0;
          for (let k = 0; k < inner; k++) {
            sum += a[i * inner + k]! * b[transposeB ? j * inner + k : k * columns + j]!;
          }
          return sum;
        });
        gpu.upload(c, new Float32Array(rows * columns).fill(NaN));
        matmul(gpu, {
          a: { slice: slices[0] },
          b: { slice: slices[1] },
          c: { slice: c },
          rows,
          columns,
          inner,
          transposeB,
          tile,
        });
        const [bytes] = await gpu.read([c]);
        const what = `${JSON.stringify(tile)}, B ${transposeB ? "transposed" : "as it is"}`;
        assertClose(new Float32Array(bytes!), want, REDUCTION, what);
      }
    }
    for (const slice of [...slices, c]) gpu.release(slice);
  });
}

gpuTest("tiles of every family load and store f16", async (gpu) => {
  if (!gpu.features.has("shader-f16")) return;
  const [rows, columns, inner] = [20, 24, 36];
  const half = (count: number, seed: string): [Float16Array, Slice] => {
    const values = Float16Array.from(randomNumbers(count, seed));
    const slice = { ...gpu.acquire(2 * count), half: true };
    gpu.upload(slice, values);
    return [values, slice];
  };
  const [a, aSlice] = half(rows * inner, "a");
  const [b, bSlice] = half(inner * columns, "b");
  const [, c] = half(rows * columns, "c");
  const want = Float64Array.from({ length: rows * columns }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < inner; k++) {
      sum += a[Math.floor(at / columns) * inner + k]! * b[k * columns + at % columns]! / 8;
    }
    return sum;
  });
  const families = new Map(
    candidatesOf(gpu, [rows, columns, inner]).map((
      tile,
    ) => [`${tile.family}${tile.broadcast}`, tile]),
  );
  for (const [name, tile] of families) {
    matmul(gpu, {
      a: { slice: aSlice },
      b: { slice: bSlice },
      c: { slice: c },
      rows,
      columns,
      inner,
      alpha: 1 / 8,
      tile,
    });
    const [bytes] = await gpu.read([c]);
    assertClose(Float64Array.from(new Float16Array(bytes!)), want, HALF, name);
  }
  for (const slice of [aSlice, bSlice, c]) gpu.release(slice);
});

Deno.test("tileFor() leaves no lane of a software adapter idle where a product is thin", () => {
  const extents = (
    [rows, columns]: readonly [number, number],
    subgroupSize: number,
  ): [number, number] => {
    const adapter = { ...CPU, subgroupSize };
    const tile = tileFor({ rows, columns, inner: 1024, batch: 1 }, adapter);
    return [tileRows(tile), tileColumns(tile)];
  };
  assertEquals(extents([4096, 3], 0), [128, 3]);
  assertEquals(extents([4096, 8], 0), [128, 8]);
  assertEquals(extents([4096, 16], 0), [64, 16]);
  assertEquals(extents([4096, 128], 0), [64, 32]);
  assertEquals(extents([8, 1024], 0), [8, 128]);
  assertEquals(extents([1, 1024], 0), [1, 32]);
  assertEquals(extents([4096, 3], 8), [64, 3]);
  assertEquals(extents([4096, 16], 8), [64, 16]);
  assertEquals(extents([4096, 128], 8), [32, 32]);
  assertEquals(extents([1024, 64], 8), [32, 32]);
});

Deno.test("tileFor() gives huge products large tiles where a processor has registers for them", () => {
  const shape = { rows: 1024, columns: 1024, inner: 1024, batch: 1 };
  const adapter = { ...CPU, subgroupSize: 8 };
  const masked = { ...adapter, hasMaskedVectors: true };
  const extents = (tile: Tile): [number, number] => [tileRows(tile), tileColumns(tile)];
  assertEquals(extents(tileFor(shape, adapter)), [32, 32]);
  assertEquals(extents(tileFor(shape, masked)), [64, 32]);
  assertEquals(extents(tileFor({ ...shape, inner: 16 }, masked)), [32, 32]);
  assertEquals(extents(tileFor({ ...shape, columns: 32, inner: 16384 }, masked)), [32, 32]);
});

Deno.test("tileFor() gives large products of a discrete GPU large tiles", () => {
  const shape = { rows: 2048, columns: 2048, inner: 2048, batch: 1 };
  const gpu: AdapterDescription = { ...CPU, software: false, name: "NVIDIA H100", vendor: "4318" };
  assertEquals(adapterClass(gpu), "discrete");
  assertEquals(tileRows(tileFor(shape, gpu)), 128);
  assertEquals(tileRows(tileFor({ ...shape, rows: 256 }, gpu)), 64);
  assertEquals(tileRows(tileFor(shape, { ...gpu, name: "Apple M3", vendor: "" })), 64);
  assertEquals(adapterClass(CPU), "software");
});
