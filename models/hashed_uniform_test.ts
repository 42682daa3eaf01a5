import { assertEquals } from "@std/assert";
import { hashedUniform } from "./hashed_uniform.ts";

Deno.test("hashedUniform() equals the published check values", () => {
  const u = hashedUniform("net.slice1.0.weight");
  assertEquals([0, 1, 2].map((i) => Number(u(i).toFixed(8))), [0.59675366, 0.99956787, 0.91802365]);
});
