/** Tests of the division into training and validation. @module */

import { assert, assertEquals } from "@std/assert";
import { splitOf, takeSplit } from "./split.ts";

function items(count: number): { name: string }[] {
  return Array.from({ length: count }, (_, i) => ({ name: `class/${i}.png` }));
}

Deno.test("splitOf() holds out about one name in ten, always the same ones", () => {
  const held = items(5000).filter((item) => splitOf(item.name) === "validation");
  assert(held.length > 440 && held.length < 560, `found ${held.length}`);
  const names = ["1F605", "1F600", "class/0.png", "class/1.png"];
  assertEquals(names.map(splitOf), ["validation", "train", "train", "train"]);
});

Deno.test("takeSplit() divides without loss and does not move images when others come", () => {
  const few = items(100);
  const train = takeSplit(few, "train");
  const validation = takeSplit(few, "validation");
  assertEquals(new Set([...train, ...validation]).size, 100);
  assertEquals(train.length + validation.length, 100);
  const more = new Set(takeSplit(items(200), "validation").map((item) => item.name));
  assert(validation.every((item) => more.has(item.name)));
});

Deno.test("takeSplit() gives both splits something where there are few images", () => {
  for (const count of [2, 3, 4]) {
    assertEquals(takeSplit(items(count), "validation").length, 1);
    assertEquals(takeSplit(items(count), "train").length, count - 1);
  }
  assertEquals(takeSplit(items(1), "train"), takeSplit(items(1), "validation"));
  assertEquals(takeSplit([], "train"), []);
});
