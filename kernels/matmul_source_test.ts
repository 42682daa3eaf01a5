import { assertEquals } from "@std/assert";
import pinned from "../tests/matmul_2x4.wgsl" with { type: "text" };
import { matmulAddressing } from "./matmul_addressing.ts";
import { productSource } from "./matmul_source.ts";
import { shareCount } from "./matmul_tile.ts";
import { PLAIN_FORM } from "./product_texts.ts";

Deno.test("productSource() writes the pinned text for a small tile", () => {
  const tile = { family: "register", lanesX: 2, lanesY: 4, rows: 2, columns: 4 } as const;
  assertEquals(productSource(tile, PLAIN_FORM, matmulAddressing(PLAIN_FORM)), pinned);
});

Deno.test("shareCount() divides only long sums that few workgroups compute, or very long ones", () => {
  const adapter = { name: "a GPU", vendor: "", software: false, subgroupSize: 0 };
  assertEquals(shareCount(128, 1, adapter), 1);
  assertEquals(shareCount(1280, 1, adapter), 10);
  assertEquals(shareCount(1280, 1000, adapter), 1);
  assertEquals(shareCount(20480, 1000, adapter), 10);
});
