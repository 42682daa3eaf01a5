/**
 * Runs the tests and counts them in one last line: `deno task test [OPTIONS] [FILES]`.
 *
 * Not named `test.ts`, since `deno test` would take that for a test file.
 *
 * @module
 */

import { join } from "node:path";

/** Counts of a run; a step of a test counts as a test. */
export interface TestCounts {
  /** Tests that passed. */
  passed: number;
  /** Tests that failed, files that could not be run included. */
  failed: number;
  /** Tests that were skipped. */
  skipped: number;
}

const HELP = `Runs all tests, those in the documentation included, with all permissions.

Usage: deno task test [OPTIONS] [FILES]

  FILES              test files or folders, everything by default
  --filter TEXT      only tests whose name includes TEXT or matches /TEXT/
  --fail-fast        stop at the first failure
  --coverage=FOLDER  collect coverage
  --help             show this text

Without FILES the test files are dealt to as many processes as there are processors, up to four.
Every other option of \`deno test\` works too. The last line counts: N passed, N failed.
A plain \`deno test\` runs the tests that need no permission and skips the others.`;

/**
 * Reads the counts from a JUnit report.
 *
 * @param report The report's text; empty if the run did not get as far as to write one.
 * @param code The exit code of the run.
 * @returns The counts; a run that failed without a failed test counts as one failure.
 */
export function countTests(report: string, code: number): TestCounts {
  const root = /<testsuites[^>]*>/.exec(report)?.[0] ?? "";
  const attribute = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(root)?.[1] ?? 0);
  const skipped = report.match(/<skipped\s*\/>/g)?.length ?? 0;
  const failures = attribute("failures") + attribute("errors");
  return {
    passed: attribute("tests") - failures - skipped,
    failed: code === 0 ? failures : Math.max(failures, 1),
    skipped,
  };
}

/**
 * Tells a run whose process was aborted only after all tests had passed and the report was complete: software drivers sometimes free
 * memory twice while the process ends, about once in fifty runs.
 *
 * @param report The report's text.
 * @param status How the process ended.
 * @returns Whether the tests themselves are all right.
 */
export function crashedAtExit(report: string, status: { signal: string | null }): boolean {
  const counts = countTests(report, 0);
  return status.signal !== null && report.trimEnd().endsWith("</testsuites>") &&
    counts.passed > 0 && counts.failed === 0;
}

/**
 * Says the counts, as the last line of a run.
 *
 * @param counts The counts.
 * @returns `N passed, N failed`, and `, N skipped` where some were.
 */
export function summarize({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

/**
 * Deals test files to processes that run side by side: compiling shaders, which takes most of the time, keeps one core busy.
 *
 * @param files All test files.
 * @param processes Number of processes.
 * @returns The files of each process.
 */
export function dealFiles(files: readonly string[], processes: number): string[][] {
  return Array.from(
    { length: processes },
    (_, process) => files.toSorted().filter((_, file) => file % processes === process),
  );
}

/** Folders without tests of this project. */
const SKIPPED_FOLDERS = ["runs", "node_modules", ".cache", ".git", "coverage", "golden", "peers"];

/** Test files below a folder, relative to it. */
function testFilesBelow(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    if (!isDirectory) return name.endsWith("_test.ts") ? [name] : [];
    if (SKIPPED_FOLDERS.includes(name)) return [];
    return testFilesBelow(join(folder, name)).map((file) => `${name}/${file}`);
  });
}

/** Arguments of each process: one for chosen files and for coverage, otherwise as many as there are processors, up to four. */
function processesFor(args: readonly string[]): string[][] {
  const chosen = args.some((arg) => !arg.startsWith("-") || arg.startsWith("--coverage"));
  const processes = chosen ? 1 : Math.min(4, navigator.hardwareConcurrency);
  if (processes === 1) return [["--doc", ...args]];
  const [, ...others] = dealFiles(testFilesBelow(Deno.cwd()), processes);
  // The first one finds its files itself, documentation included.
  return [
    ["--doc", `--ignore=${others.flat().join(",")}`, ...args],
    ...others.filter((files) => files.length > 0).map((files) => [...args, ...files]),
  ];
}

/** One `deno test`: its counts and code; what it prints is shown at once or, if `later`, when it is asked for. */
async function runProcess(args: readonly string[], later: boolean) {
  const report = await Deno.makeTempFile({ prefix: "tessera-tests-", suffix: ".xml" });
  try {
    const process = new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", `--junit-path=${report}`, ...args],
      env: later && Deno.stdout.isTerminal() ? { FORCE_COLOR: "1" } : {},
      stdin: later ? "null" : "inherit",
      stdout: later ? "piped" : "inherit",
      stderr: later ? "piped" : "inherit",
    }).spawn();
    const output = later ? await process.output() : undefined;
    const status = output ?? await process.status;
    const text = await Deno.readTextFile(report);
    const excused = crashedAtExit(text, status);
    const code = excused ? 0 : status.code;
    return { output, excused, signal: status.signal, code, counts: countTests(text, code) };
  } finally {
    await Deno.remove(report);
  }
}

/** Runs `deno test` with further arguments, shows its output and then the summary. */
async function runTests(args: readonly string[]): Promise<number> {
  const start = performance.now();
  const results = processesFor(args).map((processArgs, i) => runProcess(processArgs, i > 0));
  const total: TestCounts = { passed: 0, failed: 0, skipped: 0 };
  let code = 0;
  for (const result of results) {
    const { output, excused, signal, counts, code: ownCode } = await result;
    if (output) {
      for (
        const [text, to] of [[output.stderr, Deno.stderr], [output.stdout, Deno.stdout]] as const
      ) {
        await ReadableStream.from([text]).pipeTo(to.writable, { preventClose: true });
      }
    }
    if (excused) console.log(`All tests passed; then the driver ended the process with ${signal}`);
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped += counts.skipped;
    code ||= ownCode;
  }
  console.log(`Took ${((performance.now() - start) / 1000).toFixed(1)} s`);
  console.log(summarize(total));
  return code;
}

if (import.meta.main) {
  if (Deno.args.some((arg) => arg === "--help" || arg === "-h")) console.log(HELP);
  else Deno.exit(await runTests(Deno.args));
}
