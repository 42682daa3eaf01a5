/** The test runner counts tests, steps, skips and runs that break off. @module */

import { assertEquals } from "@std/assert";
import { countTests, crashedAtExit, dealFiles, summarize } from "./run_tests.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="7" failures="1" errors="0" time="0.151">
    <testsuite name="./a_test.ts" tests="7" disabled="2" errors="0" failures="1">
        <testcase name="leak &lt;skipped/&gt;"><failure message="x">x</failure></testcase>
        <testcase name="ignored"><skipped/></testcase>
        <testcase name="steps &gt; two"><skipped/></testcase>
    </testsuite>
</testsuites>`;

Deno.test("countTests() counts passed, failed and skipped tests", () => {
  assertEquals(countTests(REPORT, 1), { passed: 4, failed: 1, skipped: 2 });
});

Deno.test("countTests() counts a run that broke off as a failure", () => {
  assertEquals(countTests("", 1), { passed: 0, failed: 1, skipped: 0 });
  const allPassed = `<testsuites name="deno test" tests="3" failures="0" errors="0">`;
  assertEquals(countTests(allPassed, 1), { passed: 3, failed: 1, skipped: 0 });
});

Deno.test("crashedAtExit() excuses a signal only after a complete report without failures", () => {
  const passed = `<testsuites name="deno test" tests="3" failures="0" errors="0">\n</testsuites>\n`;
  assertEquals(crashedAtExit(passed, { signal: "SIGABRT" }), true);
  assertEquals(crashedAtExit(passed, { signal: null }), false);
  assertEquals(crashedAtExit(passed.slice(0, 40), { signal: "SIGABRT" }), false);
  assertEquals(crashedAtExit(REPORT, { signal: "SIGABRT" }), false);
});

Deno.test("summarize() names skipped tests only where there are some", () => {
  assertEquals(summarize({ passed: 3, failed: 0, skipped: 0 }), "3 passed, 0 failed");
  assertEquals(summarize({ passed: 3, failed: 1, skipped: 2 }), "3 passed, 1 failed, 2 skipped");
});

Deno.test("dealFiles() gives each file to one process, whatever their order", () => {
  assertEquals(dealFiles(["c", "a", "b"], 2), [["a", "c"], ["b"]]);
  assertEquals(dealFiles(["a"], 2), [["a"], []]);
});
