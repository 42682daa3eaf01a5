import { assertEquals, assertThrows } from "@std/assert";
import { GpuMemoryError } from "./errors.ts";
import { splitRows } from "./slice.ts";

const limits = { maxBindingBytes: 1024, offsetAlignment: 32 };

/** Rows of each run. */
function counts(rows: number, options: { rowBytes: number[]; multiple?: number }): number[] {
  const ranges = splitRows(limits, rows, { ...options, operation: "test" });
  let start = 0;
  for (const range of ranges) {
    assertEquals(range.start, start, "runs follow each other");
    start += range.count;
    for (const bytes of options.rowBytes) {
      assertEquals(range.start * bytes % limits.offsetAlignment, 0, "runs start aligned");
      assertEquals(range.count * bytes <= limits.maxBindingBytes, true, "runs fit");
    }
  }
  assertEquals(start, rows, "runs cover all rows");
  return ranges.map(({ count }) => count);
}

Deno.test("splitRows() leaves what fits in one piece, aligned or not", () => {
  assertEquals(counts(256, { rowBytes: [4] }), [256]);
  assertEquals(counts(85, { rowBytes: [12, 4], multiple: 7 }), [85]);
});

Deno.test("splitRows() starts each run at an aligned offset of every operand", () => {
  assertEquals(counts(300, { rowBytes: [4] }), [256, 44]);
  // 12 bytes are aligned every 8 rows, and 85 fit.
  assertEquals(counts(200, { rowBytes: [12] }), [80, 80, 40]);
  assertEquals(counts(200, { rowBytes: [12, 8] }), [80, 80, 40]);
});

Deno.test("splitRows() keeps runs multiples of the wanted number of rows", () => {
  assertEquals(counts(200, { rowBytes: [12], multiple: 3 }), [72, 72, 56]);
  assertEquals(counts(10, { rowBytes: [256], multiple: 2 }), [4, 4, 2]);
});

Deno.test("splitRows() refuses rows of which no aligned run fits", () => {
  assertThrows(
    () => counts(2, { rowBytes: [1028] }),
    GpuMemoryError,
    "Cannot bind test: expected rows of at most 128 bytes, found 1028 (the adapter binds at most 1024 bytes)",
  );
  assertThrows(
    () => counts(10, { rowBytes: [256], multiple: 5 }),
    GpuMemoryError,
    "expected rows of at most 204 bytes, found 256",
  );
});
