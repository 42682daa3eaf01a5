/**
 * Runs the tests and counts them in one last line: `deno task test [OPTIONS] [FILES]`.
 *
 * Not named `test.ts`, since `deno test` would take that for a test file.
 *
 * @module
 */

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

/** Runs `deno test` with further arguments, shows its output and then the summary. */
async function runTests(args: readonly string[]): Promise<number> {
  const report = await Deno.makeTempFile({ prefix: "tessera-tests-", suffix: ".xml" });
  try {
    const start = performance.now();
    const status = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--doc", `--junit-path=${report}`, ...args],
      stdin: "inherit",
    }).spawn().status;
    const seconds = (performance.now() - start) / 1000;
    const text = await Deno.readTextFile(report);
    const excused = crashedAtExit(text, status);
    if (excused) {
      console.log(`All tests passed; then the driver ended the process with ${status.signal}`);
    }
    const code = excused ? 0 : status.code;
    console.log(`Took ${seconds.toFixed(1)} s`);
    console.log(summarize(countTests(text, code)));
    return code;
  } finally {
    await Deno.remove(report);
  }
}

if (import.meta.main) {
  if (Deno.args.some((arg) => arg === "--help" || arg === "-h")) console.log(HELP);
  else Deno.exit(await runTests(Deno.args));
}
