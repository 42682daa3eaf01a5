import { assertEquals } from "@std/assert";
import pinned from "../tests/matmul_2x4.wgsl" with { type: "text" };
import { matmulAddressing } from "./matmul_addressing.ts";
import type { ProductForm } from "./matmul_form.ts";
import { productSource } from "./matmul_source.ts";
import { shareCount } from "./matmul_tile.ts";

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
    aTexels: false,
    bTexels: false,
    aHalf: false,
    bHalf: false,
    cHalf: false,
  };
  const tile = { family: "register", lanesX: 2, lanesY: 4, rows: 2, columns: 4 } as const;
  assertEquals(productSource(tile, form, matmulAddressing(form)), pinned);
});

Deno.test("shareCount() divides only long sums that few workgroups compute, or very long ones", () => {
  const adapter = { name: "a GPU", vendor: "", software: false, subgroupSize: 0 };
  assertEquals(shareCount(128, 1, adapter), 1);
  assertEquals(shareCount(1280, 1, adapter), 10);
  assertEquals(shareCount(1280, 1000, adapter), 1);
  assertEquals(shareCount(20480, 1000, adapter), 10);
});
