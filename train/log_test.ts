/** Tests of the run log and the messages. @module */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "./errors.ts";
import { Reporter, RunLog } from "./log.ts";

const ignoreFiles = (await Deno.permissions.query({ name: "write" })).state !== "granted";

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name: "RunLog appends one JSON object a line and shows numbers that are none",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (folder) => {
      const path = `${folder}/log.jsonl`;
      {
        using log = await RunLog.open(path);
        log.write({ step: 1, losses: { total: NaN, nll: 0.5 }, note: "line\nbreak" });
        log.flush();
        assertEquals(
          await Deno.readTextFile(path),
          '{"step":1,"losses":{"total":"NaN","nll":0.5},"note":"line\\nbreak"}\n',
        );
      }
      using log = await RunLog.open(path);
      log.write({ step: 2, rate: -Infinity });
      const lines = (await Deno.readTextFile(path)).trimEnd().split("\n");
      assertEquals(lines.slice(1), ['{"step":2,"rate":"-Infinity"}']);
    }),
});

Deno.test({
  name: "RunLog drops an unfinished line and the steps after the one that is resumed",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (folder) => {
      const path = `${folder}/log.jsonl`;
      const lines = [
        '{"event":"start"}',
        '{"step":1}',
        '{"step":2}',
        '{"step":3}',
        '{"step":4,"lo',
      ];
      await Deno.writeTextFile(path, lines.join("\n"));
      (await RunLog.open(path))[Symbol.dispose]();
      assertEquals(await Deno.readTextFile(path), lines.slice(0, 4).join("\n") + "\n");
      using log = await RunLog.open(path, { resumeStep: 2 });
      log.write({ step: 3, again: true });
      const expected = [...lines.slice(0, 3), '{"step":3,"again":true}', ""].join("\n");
      assertEquals(await Deno.readTextFile(path), expected);
    }),
});

Deno.test({
  name: "RunLog.open() names a folder that is missing",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (folder) => {
      const path = `${folder}/none/log.jsonl`;
      await assertRejects(() => RunLog.open(path), UserError, `${path}: no such file or folder`);
    }),
});

Deno.test("Reporter warns once, and shows a stack trace in debug mode only", () => {
  const lines: string[] = [];
  const writeLine = (line: string) => lines.push(line);
  const reporter = new Reporter({ writeLine });
  reporter.info("hello");
  reporter.warn("careful");
  reporter.warn("careful");
  const mistake = new UserError("Cannot do it", { cause: new Error("the disk said no") });
  assertEquals(reporter.error(mistake), 2);
  assertEquals(reporter.error(new RangeError("Cannot be")), 1);
  assertEquals(reporter.error("text"), 1);
  assertEquals(lines, [
    "hello",
    "warning: careful",
    "error: Cannot do it",
    "error: Cannot be",
    "error: text",
  ]);
  new Reporter({ writeLine, debug: true }).error(mistake);
  const last = lines.at(-1) ?? "";
  assert(last.includes("log_test.ts") && last.includes("caused by Error: the disk said no"), last);
});
