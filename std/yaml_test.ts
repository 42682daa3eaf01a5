/** YAML is read and written as by `@std/yaml`. @module */

import { assertEquals, assertThrows } from "@std/assert";
import { parse, stringify } from "@std/yaml";

Deno.test("parse() reads the numbers, merges and empty texts that configurations hold", () => {
  const text = `
base: &base { base_lr: 1e-4, steps: 1_000 }
model:
  <<: *base
  steps: 5
  names: [yes, "1", null, 0x10, .inf]
`;
  assertEquals(parse(text), {
    base: { base_lr: 1e-4, steps: 1000 },
    model: { base_lr: 1e-4, steps: 5, names: ["yes", "1", null, 16, Infinity] },
  });
  assertEquals(parse(""), null);
  assertEquals(parse("a: true", { schema: "failsafe" }), { a: "true" });
});

Deno.test("parse() rejects what is not YAML, by line", () => {
  assertThrows(() => parse("a: [1\nb: 2"), SyntaxError, "(2:1)");
  assertThrows(() => parse("a: 1\na: 2"), SyntaxError, "duplicated");
  assertEquals(parse("a: 1\na: 2", { allowDuplicateKeys: true }), { a: 2 });
});

Deno.test("parse() reports warnings", () => {
  const messages: string[] = [];
  parse("%FOO 1\n---\na: 1", { onWarning: (error) => messages.push(error.message) });
  assertEquals(messages.length, 1);
});

Deno.test("stringify() writes what parse() reads", () => {
  const shared = { rate: 1e-4 };
  const value = { b: [1, "yes", "true", null], a: { first: shared, second: shared } };
  assertEquals(parse(stringify(value)), value);
  assertEquals(
    stringify(value, { sortKeys: true, flowLevel: 1, useAnchors: false }),
    "a: {first: {rate: 0.0001}, second: {rate: 0.0001}}\nb: [1, 'yes', 'true', null]\n",
  );
  assertThrows(() => stringify({ a: () => 1 }), TypeError);
});
