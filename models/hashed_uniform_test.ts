import { assertEquals } from "@std/assert";
import { fillHashed, hashedUniform } from "./hashed_uniform.ts";

Deno.test("hashedUniform() equals the published check values", () => {
  const u = hashedUniform("net.slice1.0.weight");
  assertEquals([0, 1, 2].map((i) => Number(u(i).toFixed(8))), [0.59675366, 0.99956787, 0.91802365]);
});

Deno.test("fillHashed() maps the numbers of a stream in double precision, from any index and salt", () => {
  for (const [salt, first] of [[0, 0], [7, 1000], [2 ** 32 - 3, 5]] as const) {
    const uniform = hashedUniform("a.weight", salt);
    const weights = new Float32Array(6);
    fillHashed(weights, { name: "a.weight", salt, first, factor: 2 * Math.sqrt(1.5 / 37) });
    const expected = weights.map((_, i) => (uniform(first + i) - 0.5) * 2.0 * Math.sqrt(1.5 / 37));
    assertEquals(weights, expected);
    const norms = new Float32Array(6);
    fillHashed(norms, { name: "a.weight", salt, first, center: 0, factor: 0.5, offset: 0.75 });
    assertEquals(norms, norms.map((_, i) => 0.75 + 0.5 * uniform(first + i)));
  }
});
