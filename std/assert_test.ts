/** The assertions hold, and fail, as those of `@std/assert` do. @module */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertExists,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { equal } from "./equal.ts";

/** Runs an assertion that must fail; independent of assertThrows(), which is under test too. */
function failureOf(fn: () => void): string {
  try {
    fn();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw error;
  }
  throw new Error("the assertion held");
}

const EQUAL: [unknown, unknown][] = [
  [NaN, NaN],
  [0, -0],
  [new Float32Array([1, NaN, -0]), new Float32Array([1, NaN, 0])],
  [{ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }],
  [Object.create(null), {}],
  [new Map([["a", [1]]]), new Map([["a", [1]]])],
  [new Set([[1], [2]]), new Set([[2], [1]])],
  [new Date(5), new Date(5)],
  [/a/g, /a/g],
  [new RangeError("x"), new RangeError("x")],
  [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 2]).buffer],
  [new DataView(new ArrayBuffer(2)), new DataView(new ArrayBuffer(2))],
];

const DIFFERENT: [unknown, unknown][] = [
  [1, "1"],
  [null, undefined],
  [[1, 2], [1]],
  [{ a: undefined }, {}],
  [{ a: undefined, b: 1 }, { b: 1, c: undefined }],
  [new Float32Array([1]), new Float64Array([1])],
  [new Float32Array([1]), new Float32Array([2])],
  [new Float32Array([1]), [1]],
  [new Map([["a", 1]]), new Map([["a", 2]])],
  [new Set([1, 1.5]), new Set([1, 2])],
  [new Date(5), new Date(6)],
  [/a/g, /a/],
  [new RangeError("x"), new RangeError("y")],
  [new RangeError("x"), new TypeError("x")],
  [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 3]).buffer],
  [new DataView(new ArrayBuffer(2)), new DataView(new ArrayBuffer(3))],
];

Deno.test("equal() follows the rules of @std/assert", () => {
  for (const [a, b] of EQUAL) assert(equal(a, b) && equal(b, a), Deno.inspect([a, b]));
  for (const [a, b] of DIFFERENT) assert(!equal(a, b) && !equal(b, a), Deno.inspect([a, b]));
});

Deno.test("equal() ends on cycles", () => {
  const a: unknown[] = [1], b: unknown[] = [1], c: unknown[] = [2];
  for (const list of [a, b, c]) list.push(list);
  assert(equal(a, b));
  assert(!equal(a, c));
});

Deno.test("assertEquals() shows both values and the note", () => {
  assertEquals([1, { a: 2 }], [1, { a: 2 }]);
  const message = failureOf(() => assertEquals([1], [2], "my note"));
  for (const part of ["[ 1 ]", "[ 2 ]", "my note"]) assertStringIncludes(message, part);
});

Deno.test("assertAlmostEquals() is relative by default and absolute on demand", () => {
  assertAlmostEquals(1e6 + 0.05, 1e6);
  assertAlmostEquals(1, 1.5, 0.5);
  assertAlmostEquals(NaN, NaN);
  assertStringIncludes(failureOf(() => assertAlmostEquals(1e6 + 0.2, 1e6)), "delta");
  failureOf(() => assertAlmostEquals(1, 1.6, 0.5));
  failureOf(() => assertAlmostEquals(NaN, 1, 1));
  failureOf(() => assertAlmostEquals(1e-9, 0));
});

Deno.test("simple assertions hold and fail", () => {
  assert(1);
  assertNotEquals([1], [2]);
  assertStrictEquals(NaN, NaN);
  assertGreater(2, 1);
  assertGreaterOrEqual(2, 2);
  assertLess(1, 2);
  assertLessOrEqual(2, 2);
  assertExists(0);
  assertInstanceOf(new TypeError(), Error);
  assertMatch("abc", /b/);
  assertStringIncludes("abc", "bc");
  const failing: (() => void)[] = [
    () => assert(0),
    () => assertNotEquals([1], [1]),
    () => assertStrictEquals({}, {}),
    () => assertGreater(1, 1),
    () => assertGreater(NaN, 1),
    () => assertGreaterOrEqual(1, 2),
    () => assertLess(1, 1),
    () => assertLessOrEqual(2, 1),
    () => assertExists(null),
    () => assertInstanceOf(new Error(), TypeError),
    () => assertMatch("abc", /d/),
    () => assertStringIncludes("abc", "d"),
  ];
  for (const fn of failing) failureOf(fn);
});

Deno.test("assertThrows() checks class and message and gives the error", () => {
  const fn = () => {
    throw new RangeError("Cannot do it");
  };
  assertEquals(assertThrows(fn, RangeError, "do it").message, "Cannot do it");
  assertInstanceOf(assertThrows(fn), RangeError);
  assertStringIncludes(failureOf(() => assertThrows(() => 1, "a note")), "a note");
  assertStringIncludes(failureOf(() => assertThrows(fn, TypeError)), "RangeError");
  assertStringIncludes(failureOf(() => assertThrows(fn, RangeError, "other")), "other");
  failureOf(() =>
    assertThrows(() => {
      throw "no error";
    }, Error)
  );
});

Deno.test("assertRejects() checks class and message and refuses a throw", async () => {
  const fn = () => Promise.reject(new RangeError("Cannot do it"));
  assertEquals((await assertRejects(fn, RangeError, "do it")).message, "Cannot do it");
  assertInstanceOf(await assertRejects(fn), RangeError);
  const failing: (() => Promise<unknown>)[] = [
    () => assertRejects(() => Promise.resolve()),
    () => assertRejects(fn, TypeError),
    () => assertRejects(fn, RangeError, "other"),
    () =>
      assertRejects(() => {
        throw new RangeError("early");
      }),
  ];
  for (const fails of failing) {
    const error = await fails().then(() => undefined, (error) => error);
    assertInstanceOf(error, AssertionError);
  }
});
