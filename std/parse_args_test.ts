/** Arguments are parsed as by `@std/cli/parse-args`. @module */

import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { parseArgs as fromRoot } from "@std/cli";

Deno.test("parseArgs() reads flags, values and positional arguments", () => {
  const args = parseArgs(["train", "--debug", "--config", "a.yaml", "--steps=5", "data.train=x"], {
    boolean: ["debug", "help"],
    string: ["config", "resume"],
  });
  assertEquals(args, {
    _: ["train", "data.train=x"],
    debug: true,
    help: false,
    config: "a.yaml",
    steps: 5,
  });
  const debug: boolean = args.debug, resume: string | undefined = args.resume;
  assertEquals([debug, resume], [true, undefined]);
  assertEquals(fromRoot, parseArgs);
});

Deno.test("parseArgs() keeps text as text and numbers as numbers", () => {
  assertEquals(parseArgs(["--seed", "007", "3", "--n", "007"], { string: ["seed"] }), {
    _: [3],
    seed: "007",
    n: 7,
  });
});

Deno.test("parseArgs() keeps the last of repeated flags unless they are collected", () => {
  const options = { string: ["set", "name"], collect: ["set"], alias: { set: "s" } } as const;
  assertEquals(
    parseArgs(["--set=a", "-s", "b", "--name=c", "--name=d", "--x.y=1", "--x.y=2"], options),
    {
      _: [],
      set: ["a", "b"],
      s: ["a", "b"],
      name: "d",
      x: { y: 2 },
    },
  );
  assertEquals(parseArgs([], options), { _: [], set: [], s: [] });
});

Deno.test("parseArgs() negates only flags that may be negated", () => {
  const options = { boolean: ["color"], default: { color: true } } as const;
  assertEquals(parseArgs(["--no-color"], { ...options, negatable: ["color"] }).color, false);
  assertEquals(parseArgs(["--no-color"], options), { _: [], color: true, "no-color": true });
});

Deno.test("parseArgs() keeps defaults, lists included", () => {
  assertEquals(parseArgs([], { default: { sizes: [1, 2] } }), { _: [], sizes: [1, 2] });
  assertEquals(parseArgs(["--sizes=3"], { default: { sizes: [1, 2] } }), { _: [], sizes: 3 });
});

Deno.test("parseArgs() stops at -- and, on demand, at the first positional argument", () => {
  assertEquals(parseArgs(["--a", "--", "--no-b"], { "--": true }), {
    _: [],
    a: true,
    "--": ["--no-b"],
  });
  assertEquals(parseArgs(["--a=1", "run", "--b=2"], { stopEarly: true }), {
    _: ["run", "--b=2"],
    a: 1,
  });
});

Deno.test("parseArgs() hands unknown flags to the caller", () => {
  const seen: unknown[] = [];
  const args = parseArgs(["--known", "--other=3", "x"], {
    boolean: ["known"],
    unknown: (...rest) => seen.push(rest) < 0,
  });
  assertEquals(seen, [["--other=3", "other", "3"], ["x", undefined, undefined]]);
  assertEquals(args, { _: [], known: true });
});
