/** Says why tests are ignored: a plain `deno test` has no permissions, `deno task test` has all. @module */

import { assertEquals } from "@std/assert";

const NAMES = ["read", "write", "env", "run", "ffi"] as const;

const states = await Promise.all(NAMES.map((name) => Deno.permissions.query({ name })));
const missing = NAMES.filter((_, index) => states[index]?.state !== "granted");
const flags = missing.map((name) => `--allow-${name}`).join(" ");

Deno.test({
  name: missing.length === 0
    ? "every permission that a test needs is granted"
    : `tests that need ${flags} are ignored; \`deno task test\` runs them`,
  ignore: missing.length > 0,
  fn: () => assertEquals(missing, []),
});
