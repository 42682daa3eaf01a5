import { assertEquals } from "@std/assert";
import { tileCandidates } from "../kernels/matmul_choice.ts";
import type { Tile } from "../kernels/matmul_tile.ts";
import type { ProductRequest } from "../kernels/tile_table.ts";
import { gpuTest } from "../tests/op_case.ts";
import { fastest, measureTiles } from "./tune/measure.ts";
import { Product } from "./tune/product.ts";

const GEOMETRY = {
  batch: 2,
  height: 7,
  width: 5,
  inputs: 3,
  outputs: 6,
  kernel: [3, 3],
  stride: 2,
  padding: [0, 1, 0, 1],
} as const;

/** A product of each kind and of each layout, of sizes that no tile divides. */
const REQUESTS: readonly ProductRequest[] = [
  {
    kind: "matmul",
    shape: { rows: 19, columns: 21, inner: 37, batch: 3 },
    half: [false, false, false],
    transposed: [false, true],
  },
  {
    kind: "matmul",
    shape: { rows: 19, columns: 21, inner: 37, batch: 1 },
    half: [false, false, false],
    transposed: [true, false],
  },
  {
    kind: "conv2d_forward",
    shape: { rows: 24, columns: 6, inner: 27, batch: 1 },
    half: [false, false, false],
    geometry: GEOMETRY,
  },
  {
    kind: "conv2d_input_gradient",
    shape: { rows: 24, columns: 3, inner: 18, batch: 4 },
    half: [false, false, false],
    geometry: GEOMETRY,
  },
  {
    kind: "conv2d_weight_gradient",
    shape: { rows: 27, columns: 6, inner: 24, batch: 1 },
    half: [false, false, false],
    geometry: GEOMETRY,
  },
];

for (const request of REQUESTS) {
  const transposed = request.transposed ? ` ${request.transposed}` : "";
  gpuTest(`Product knows the elements of ${request.kind}${transposed}`, async (gpu) => {
    using product = new Product(gpu, request);
    const [tile] = tileCandidates(request.shape, gpu.adapter);
    assertEquals(await product.isRight(tile!), true);
  });
}

gpuTest("measureTiles() leaves a tile out that computes wrong numbers", async (gpu) => {
  const request = REQUESTS[0]!;
  const [right] = tileCandidates(request.shape, gpu.adapter);
  // Deals A out among more lanes than a subgroup has, so that half of it never arrives.
  const { subgroupSize } = gpu.adapter;
  if (subgroupSize === 0) return;
  const wrong: Tile = {
    family: "register",
    lanesX: 2 * subgroupSize,
    lanesY: 1,
    rows: 16,
    columns: 4,
    broadcast: "a",
  };
  const found = await measureTiles(gpu, request, [wrong, right!], { batchMs: 1, rounds: 1 });
  assertEquals(found.map(({ verdict }) => verdict), ["wrong", "measured"]);
  assertEquals(fastest(found)?.tile, right);
});

Deno.test("fastest() takes the least time of right tiles, and the first where it is nearly as fast", () => {
  const tile: Tile = { family: "register", lanesX: 8, lanesY: 1, rows: 4, columns: 4 };
  const candidate = (rows: number, ms: number | undefined) => ({
    tile: { ...tile, rows },
    ms,
    verdict: ms === undefined ? "wrong" as const : "measured" as const,
  });
  assertEquals(fastest([candidate(1, 3), candidate(2, undefined), candidate(3, 2)])?.tile.rows, 3);
  assertEquals(fastest([candidate(1, 2.05), candidate(2, 2)])?.tile.rows, 1);
  assertEquals(fastest([candidate(1, 2.2), candidate(2, 2)])?.tile.rows, 2);
  assertEquals(fastest([candidate(1, undefined)]), undefined);
});
