/** Tests of hashes and of what is drawn from them. @module */

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { fnv1a32, hashedPermutation, hashedUniform, mix32 } from "./hash.ts";

Deno.test("fnv1a32() gives the published values", () => {
  assertEquals([fnv1a32(""), fnv1a32("a"), fnv1a32("foobar")], [
    0x811c9dc5,
    0xe40c292c,
    0xbf9cf968,
  ]);
});

Deno.test("mix32() and fnv1a32() give the reference vectors' uniform numbers", () => {
  const name = fnv1a32("net.slice1.0.weight");
  const uniform = [0, 1, 2].map((i) => (mix32(mix32(i) ^ name) >>> 8) / 2 ** 24);
  [0.59675366, 0.99956787, 0.91802365].forEach((want, i) =>
    assertAlmostEquals(uniform[i] ?? 0, want, 1e-8)
  );
});

Deno.test("hashedUniform() is uniform, and differs with every part of its key", () => {
  const draws = Array.from({ length: 4000 }, (_, i) => hashedUniform(1, 0, i));
  const mean = draws.reduce((sum, draw) => sum + draw, 0) / draws.length;
  const meanSquare = draws.reduce((sum, draw) => sum + draw * draw, 0) / draws.length;
  assertAlmostEquals(mean, 1 / 2, 0.015);
  assertAlmostEquals(meanSquare, 1 / 3, 0.015);
  const keys = [[0, 0], [0, 1], [1, 0], [0, 0, 0], [1, 1], [2, 1], [1, 2]];
  assertEquals(new Set(keys.map((key) => hashedUniform(...key))).size, keys.length);
});

Deno.test("hashedPermutation() holds each number once, in an order of its own per epoch", () => {
  const first = hashedPermutation(1000, 7, 0);
  assertEquals(first.toSorted(), Uint32Array.from({ length: 1000 }, (_, i) => i));
  assertEquals(hashedPermutation(1000, 7, 0), first);
  const second = hashedPermutation(1000, 7, 1);
  const fixed = first.filter((value, i) => value === second[i]).length;
  assert(fixed < 10, `found ${fixed} equal places`);
  assertEquals(hashedPermutation(0, 1).length, 0);
});
