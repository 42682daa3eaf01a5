/** Each lint rule reports what it forbids and nothing else. @module */

import { assertEquals } from "@std/assert";
import plugin from "./lint_plugin.ts";

/** Lints a text as if it stood in a file; gives the names of the rules that report. */
function lint(filename: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, filename, source)
    .map((diagnostic) => diagnostic.id.replace("tessera/", ""));
}

/** Lints one import from a file. */
function imports(filename: string, specifier: string): boolean {
  return lint(filename, `import { x } from "${specifier}";`).length === 0;
}

Deno.test("tape-needs-using accepts only tapes that end with their scope", () => {
  const rule = ["tape-needs-using"];
  assertEquals(lint("nn/a.ts", "{ using tape = new Tape(gpu); }"), []);
  assertEquals(lint("nn/a.ts", "async () => { await using tape = new Tape(gpu); }"), []);
  assertEquals(lint("nn/a.ts", "new Map(); class A { b = new Tapestry(); }"), []);
  assertEquals(lint("nn/a.ts", "const tape = new Tape(gpu);"), rule);
  assertEquals(lint("nn/a.ts", "step(new Tape(gpu));"), rule);
  assertEquals(lint("nn/a.ts", "class A { tape = new Tape(gpu); }"), rule);
  assertEquals(lint("nn/a.ts", "{ using y = f(new Tape(gpu)); }"), rule);
});

Deno.test("create-buffer-only-in-kernels-gpu knows the owners", () => {
  const source = "const b = device.createBuffer({ size: 4 });";
  assertEquals(lint("kernels/recorder.ts", source), []);
  assertEquals(lint("kernels/pool.ts", source), []);
  const rule = ["create-buffer-only-in-kernels-gpu"];
  assertEquals(lint("kernels/gpu.ts", source), rule);
  assertEquals(lint("kernels/matmul.ts", source), rule);
  assertEquals(lint("nn/tape.ts", "this.#device.createBuffer({ size: 4 });"), rule);
  assertEquals(lint("nn/tape.ts", "createBuffer(); encoder.clearBuffer(b);"), []);
});

Deno.test("console-only-in-cli keeps the console to those who talk to the user", () => {
  const source = `console.log("x");`;
  for (const file of ["cli.ts", "train/log.ts", "tools/a.ts", "bench/a.ts"]) {
    assertEquals(lint(file, source), []);
  }
  for (const file of ["train/a.ts", "nn/cli.ts", "kernels/tools/a.ts", "mod.ts"]) {
    assertEquals(lint(file, source), ["console-only-in-cli"]);
  }
});

Deno.test("layer-direction lets imports go down and not up", () => {
  const allowed: [string, string][] = [
    ["kernels/gpu.ts", "./pool.ts"],
    ["nn/tape.ts", "../kernels/gpu.ts"],
    ["train/files/a.ts", "../../kernels/gpu.ts"],
    ["train/a.ts", "@std/yaml"],
    ["train/a.ts", "../configs/default.yaml"],
    ["kernels/a.ts", "npm:pngjs"],
    ["mod.ts", "./train/mod.ts"],
    ["cli.ts", "./train/mod.ts"],
    ["web/app.ts", "../mod.ts"],
    ["web/app.ts", "./page.ts"],
    ["kernels/gpu_test.ts", "../tests/close.ts"],
    ["kernels/gpu_test.ts", "../nn/mod.ts"],
    ["tests/a.ts", "../train/mod.ts"],
    ["bench/a.ts", "../tests/op_case.ts"],
    ["tools/a.ts", "../tests/golden.ts"],
  ];
  for (const [file, specifier] of allowed) assertEquals(imports(file, specifier), true, file);
  const forbidden: [string, string][] = [
    ["kernels/gpu.ts", "../nn/tape.ts"],
    ["std/yaml.ts", "../kernels/mod.ts"],
    ["nn/tape.ts", "../models/mod.ts"],
    ["models/encoder.ts", "../train/config.ts"],
    ["train/files/a.ts", "../../cli.ts"],
    ["train/a.ts", "../mod.ts"],
    ["train/a.ts", "@tessera/tessera"],
    ["nn/a.ts", "@tessera/tessera/models"],
    ["train/a.ts", "../tests/close.ts"],
    ["cli.ts", "./tools/setup.ts"],
    ["web/app.ts", "../nn/mod.ts"],
  ];
  for (const [file, specifier] of forbidden) {
    assertEquals(imports(file, specifier), false, `${file} ${specifier}`);
  }
});

Deno.test("layer-direction sees every form of import, in absolute paths too", () => {
  const file = decodeURIComponent(new URL("../nn/tape.ts", import.meta.url).pathname);
  for (
    const source of [
      `import type { A } from "../train/a.ts";`,
      `import "../train/a.ts";`,
      `export { a } from "../train/a.ts";`,
      `export * from "../train/a.ts";`,
      `await import("../train/a.ts");`,
    ]
  ) assertEquals(lint(file, source), ["layer-direction"], source);
  assertEquals(lint(file, `export { a }; export const b = await import(name);`), []);
});
