import { assertEquals } from "@std/assert";
import pinned from "../tests/matmul_2x4.wgsl" with { type: "text" };
import { matmulAddressing } from "./matmul_parts.ts";
import type { ProductForm } from "./matmul_form.ts";
import { productSource } from "./matmul_source.ts";
import { shareCount, tileColumns, tileFor, tileRows } from "./matmul_tile.ts";

Deno.test("productSource() writes the pinned text for a small tile", () => {
  const form: ProductForm = {
    aAlong: "inner",
    bAlong: "columns",
    aVector: true,
    bVector: true,
    cVector: true,
    bias: true,
    residual: false,
    accumulate: false,
    aHalf: false,
    bHalf: false,
    cHalf: false,
  };
  const tile = { family: "register", lanesX: 2, lanesY: 4, rows: 2, columns: 4 } as const;
  assertEquals(productSource(tile, form, matmulAddressing(form)), pinned);
});

Deno.test("tileFor() leaves no lane of a software adapter idle where a product is thin", () => {
  const adapter = { name: "a CPU", vendor: "", software: true, subgroupSize: 0 };
  const extents = (rows: number, columns: number): [number, number] => {
    const tile = tileFor({ rows, columns, inner: 1024, batch: 1 }, adapter);
    return [tileRows(tile), tileColumns(tile)];
  };
  assertEquals(extents(4096, 3), [128, 3]);
  assertEquals(extents(4096, 8), [128, 8]);
  assertEquals(extents(4096, 16), [64, 16]);
  assertEquals(extents(4096, 128), [64, 32]);
  assertEquals(extents(8, 1024), [8, 128]);
  assertEquals(extents(1, 1024), [1, 32]);
});

Deno.test("shareCount() divides only long sums that few workgroups compute, or very long ones", () => {
  const adapter = { name: "a GPU", vendor: "", software: false, subgroupSize: 0 };
  assertEquals(shareCount(128, 1, adapter), 1);
  assertEquals(shareCount(1280, 1, adapter), 10);
  assertEquals(shareCount(1280, 1000, adapter), 1);
  assertEquals(shareCount(20480, 1000, adapter), 10);
});
