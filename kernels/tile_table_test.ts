import { assertEquals } from "@std/assert";
import type { AdapterDescription } from "./gpu.ts";
import { tileFor } from "./matmul_choice.ts";
import type { Tile } from "./matmul_tile.ts";
import { productClass, type ProductRequest, TileTable } from "./tile_table.ts";

const ADAPTER: AdapterDescription = {
  name: "llvmpipe",
  vendor: "Mesa",
  software: true,
  subgroupSize: 0,
};
const TILE: Tile = { family: "register", lanesX: 8, lanesY: 1, rows: 4, columns: 4 };

function request(rows: number, columns: number): ProductRequest {
  return {
    kind: "matmul",
    shape: { rows, columns, inner: 100, batch: 1 },
    half: [true, false, false],
    transposed: [false, true],
  };
}

Deno.test("productClass() keeps thin extents and rounds others up", () => {
  assertEquals(productClass(request(1, 1000)), "matmul hfTf 1x1024x128");
  assertEquals(productClass(request(1, 1024)), productClass(request(1, 1000)));
  assertEquals(productClass(request(3, 17)), "matmul hfTf 3x32x128");
});

Deno.test("TileTable.choose() prefers what was measured and remembers what was asked for", () => {
  const table = new TileTable();
  const small = request(30, 30);
  assertEquals(table.choose(small, ADAPTER), tileFor(small.shape, ADAPTER));
  table.load([[productClass(small), TILE]]);
  assertEquals(table.choose(request(31, 29), ADAPTER), TILE);
  assertEquals([...table.requests.values()], [small]);
  assertEquals(table.measured, 1);
});
