/** The progress bar draws, updates, ends and survives a closed pipe. @module */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ProgressBar } from "@std/cli/unstable-progress-bar";

/** A stream that keeps what is written to it. */
function recorder(): {
  writable: WritableStream<Uint8Array>;
  lines: string[];
  closed: () => boolean;
} {
  const lines: string[] = [];
  let closed = false;
  const writable = new WritableStream<Uint8Array>({
    write: (chunk) => void lines.push(new TextDecoder().decode(chunk)),
    close: () => void (closed = true),
  });
  return { writable, lines, closed: () => closed };
}

Deno.test("ProgressBar draws its first and last state and keeps the stream open", async () => {
  const { writable, lines, closed } = recorder();
  const bar = new ProgressBar({ max: 2048, barLength: 8, writable });
  bar.value = 1024;
  await bar.stop();
  assertEquals(lines, [
    "\r\x1b[K[00:00] [--------] [0.00/2.00 KiB]",
    "\r\x1b[K[00:00] [####----] [1.00/2.00 KiB]",
    "\n",
  ]);
  assert(!closed() && !writable.locked);
});

Deno.test("ProgressBar updates at its interval and tells the formatter what was before", async () => {
  const { writable, lines, closed } = recorder();
  const bar = new ProgressBar({
    max: 4,
    value: 1,
    writable,
    interval: 5,
    fillChar: "=",
    emptyChar: " ",
    barLength: 4,
    keepOpen: false,
    formatter: (bar) => `${bar.previousValue}>${bar.value}/${bar.max} ${bar.progressBar}`,
  });
  bar.value = 3;
  while (lines.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  await bar.stop();
  assertStringIncludes(lines[0] ?? "", "1>1/4 =   ");
  assertStringIncludes(lines[1] ?? "", "1>3/4 === ");
  assertStringIncludes(lines[2] ?? "", "3>3/4 === ");
  assert(closed());
});

Deno.test("ProgressBar stays in its line beyond its ends and without any work", async () => {
  const { writable, lines } = recorder();
  const bar = new ProgressBar({ max: 0, barLength: 2, writable, formatter: (b) => b.progressBar });
  bar.max = 1;
  bar.value = -5;
  await bar.stop();
  const second = new ProgressBar({ max: 1, value: 9, barLength: 2, writable, clear: true });
  await second.stop();
  assertEquals(lines.slice(0, 2), ["\r\x1b[K##", "\r\x1b[K--"]);
  assertStringIncludes(lines[3] ?? "", "[##]");
  assertEquals(lines.at(-1), "\r\x1b[K");
});

Deno.test("ProgressBar outlives a closed pipe", async () => {
  const writable = new WritableStream<Uint8Array>({
    write: () => Promise.reject(new Error("broken pipe")),
  });
  const bar = new ProgressBar({ max: 1, writable, keepOpen: false });
  await bar.stop();
});
