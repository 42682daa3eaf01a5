/** Tests of the progress display with a clock of their own. @module */
import { assert, assertEquals } from "@std/assert";
import { formatDuration, Progress, type ProgressUpdate } from "./progress.ts";

const run = { label: "tokenizer", totalSteps: 100, stepsPerEpoch: 40 };

function at(step: number): ProgressUpdate {
  return {
    step,
    epoch: Math.floor((step - 1) / 40),
    losses: { nll: 1 / step, disc: NaN },
    images: 16,
  };
}

Deno.test("formatDuration() shows minutes and, from an hour on, hours", () => {
  const shown = [0, 59_600, 3_599_000, 3_600_000, 90_061_000].map(formatDuration);
  assertEquals(shown, ["00:00", "01:00", "59:59", "1:00:00", "25:01:01"]);
});

Deno.test("Progress writes a line every ten seconds where there is no terminal, and one at the end", async () => {
  const lines: string[] = [];
  let timeMs = 0;
  const progress = new Progress({
    ...run,
    terminal: false,
    writeLine: (line) => lines.push(line),
    now: () => timeMs,
  });
  for (let step = 1; step <= 13; step++) {
    timeMs += 2000;
    progress.update(at(step));
  }
  progress.say("between");
  await progress.stop();
  assertEquals(lines, [
    "tokenizer epoch 1/3  step 1/100  nll 1.000  disc NaN  8.0 images/s  ETA 03:18",
    "tokenizer epoch 1/3  step 6/100  nll 0.1667  disc NaN  8.0 images/s  ETA 03:08",
    "tokenizer epoch 1/3  step 11/100  nll 0.09091  disc NaN  8.0 images/s  ETA 02:58",
    "between",
    "tokenizer epoch 1/3  step 13/100  nll 0.07692  disc NaN  8.0 images/s  ETA 02:54",
  ]);
});

Deno.test("Progress measures the speed over the last seconds and from the resumed step", async () => {
  const lines: string[] = [];
  let timeMs = 0;
  const progress = new Progress({
    ...run,
    startStep: 50,
    terminal: false,
    writeLine: (line) => lines.push(line),
    now: () => timeMs,
  });
  timeMs = 100_000; // a slow first step, then faster ones
  progress.update(at(51));
  for (let step = 52; step <= 81; step++) {
    timeMs += 1000;
    progress.update(at(step));
  }
  await progress.stop();
  assertEquals(lines.at(0)?.includes("0.2 images/s"), true);
  assertEquals(
    lines.at(-1),
    "tokenizer epoch 3/3  step 81/100  nll 0.01235  disc NaN  16.0 images/s  ETA 00:19",
  );
});

Deno.test("Progress draws a bar in a terminal and clears its line before others", async () => {
  let drawn = "";
  const writable = new WritableStream<Uint8Array>({
    write: (bytes) => {
      drawn += new TextDecoder().decode(bytes);
    },
  });
  const lines: string[] = [];
  const progress = new Progress({
    ...run,
    terminal: true,
    writable,
    writeLine: (line) => lines.push(line),
  });
  progress.update(at(50));
  progress.say("saved");
  await progress.stop();
  assert(
    drawn.includes("tokenizer [##########----------] epoch 2/3  step 50/100  nll 0.02000"),
    drawn,
  );
  assert(drawn.endsWith("\n"), drawn);
  assertEquals(lines, ["\r\x1b[Ksaved"]);
});
