/** Results as text and as Markdown. @module */

import type { Case } from "./cases.ts";
import { type Measurement, OURS, type Row } from "./compare.ts";
import { TOLERANCES } from "./equality.ts";
import type { Peaks } from "../kernels/peaks.ts";
import type { Results, WorkloadRow } from "./results.ts";

/** WebGPU libraries in JavaScript: the peers that "best peer" means. */
const WEBGPU_PEERS = ["tfjs webgpu", "jax-js webgpu", "onnxruntime-web webgpu"];
/** The reference's own code on the processors. */
export const PYTORCH = "PyTorch CPU";
const BEGIN = "<!-- bench: begin -->";
const END = "<!-- bench: end -->";

type Timed = Extract<Measurement, { ms: number }>;

function timed(measurement: Measurement | undefined): Timed | undefined {
  return measurement && "ms" in measurement ? measurement : undefined;
}

/** The fastest of the peers in a line: the one whose time is the smallest multiple of ours. */
function bestPeer(row: Row): { name: string; peer: Timed } | undefined {
  const peers = WEBGPU_PEERS.flatMap((name) => {
    const peer = timed(row.measurements[name]);
    return peer ? [{ name, peer }] : [];
  });
  return peers.toSorted((a, b) => a.peer.ratio - b.peer.ratio)[0];
}

/** Rate of a case, and its share of what the adapter reaches at best. */
function rateOf({ work }: Case, ms: number, peaks: Peaks): string {
  if ("things" in work) return `${number(work.things * 1000 / ms)} ${work.unit}/s`;
  const [rate, unit, peak] = "operations" in work
    ? [work.operations / 1e6 / ms, "GFLOP/s", peaks.gflops]
    : [work.bytes / 1e6 / ms, "GB/s", peaks.gigabytes];
  return `${number(rate)} ${unit}, ${(100 * rate / peak).toFixed(0)} %`;
}

/** Three digits. */
function number(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function duration(ms: number): string {
  return ms >= 1000 ? `${number(ms / 1000)} s` : `${number(ms)} ms`;
}

/**
 * A line of the comparison as text.
 *
 * @param row The line.
 * @param peaks What the adapter reaches at best.
 * @returns A line for the engine and one for each other subject.
 */
export function rowText(row: Row, peaks: Peaks): string {
  const lines = Object.entries(row.measurements).map(([name, measurement]) => {
    const label = `  ${name}`.padEnd(26);
    if (!("ms" in measurement)) return `${label} - ${measurement.reason}`;
    const { ms, ratio, processorRatio, rounds, firstMs } = measurement;
    const beside = name === OURS
      ? rateOf(row.case, ms, peaks)
      : `${number(ratio)}x ours, ${number(processorRatio)}x by processor time`;
    return `${label} ${duration(ms).padStart(9)}  ${beside}  (median of ${rounds}, first ${
      duration(firstMs)
    })`;
  });
  return [row.case.name, ...lines].join("\n");
}

/**
 * A line of the default training's ops as text.
 *
 * @param row The line.
 * @param peaks What the adapter reaches at best.
 * @returns Milliseconds, rate, share of the peak.
 */
export function workloadText({ name, ms, rate, unit }: WorkloadRow, peaks: Peaks): string {
  const share = 100 * rate / (unit === "GFLOP/s" ? peaks.gflops : peaks.gigabytes);
  return `${name.padEnd(58)} ${ms.toFixed(2).padStart(8)} ms ${rate.toFixed(1).padStart(8)} ${
    unit.padEnd(7)
  } ${share.toFixed(0).padStart(4)} %`;
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(3, title.length, ...lines.map((line) => line[column]!.length))
  );
  const draw = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [draw(head), rule, ...lines.map(draw)].join("\n");
}

/** Reasons why cells have no number, each once. */
class Notes {
  readonly #numbers = new Map<string, number>();

  mark(reason: string): string {
    const known = this.#numbers.get(reason) ?? this.#numbers.size + 1;
    this.#numbers.set(reason, known);
    return `- (${known})`;
  }

  text(): string {
    return [...this.#numbers].map(([reason, number]) =>
      `${number}. ${reason.replaceAll(/[<>|*_`]/g, (sign) => `\\${sign}`)}`
    ).join("\n");
  }
}

function comparisonTable(results: Results, rows: readonly Row[], notes: Notes): string {
  const others = [...WEBGPU_PEERS, "jax-js wasm"].filter((name) =>
    rows.some(({ measurements }) => name in measurements)
  );
  const lines = rows.map((row) => {
    const ours = row.measurements[OURS];
    const best = bestPeer(row);
    const cell = (measurement: Measurement | undefined): string => {
      if (!measurement) return "";
      return "ms" in measurement
        ? `${number(measurement.ratio)}x${
          measurement.rounds < 5 ? ` (n=${measurement.rounds})` : ""
        }`
        : notes.mark(measurement.reason);
    };
    return [
      row.case.name,
      ours && "ms" in ours ? duration(ours.ms) : cell(ours),
      ours && "ms" in ours ? rateOf(row.case, ours.ms, results.peaks) : "",
      ...(others.length === 0 ? [] : [
        best ? `${number(best.peer.ratio)}x (${number(best.peer.processorRatio)}x)` : "",
        ...others.map((name) => cell(row.measurements[name])),
      ]),
    ];
  });
  const head = ["work", "ours", "rate, share of the peak"];
  if (others.length > 0) head.push("best WebGPU peer (by processor time)", ...others);
  return table(head, lines);
}

function pytorchTable(rows: readonly Row[], notes: Notes): string {
  const lines = rows.map((row) => {
    const ours = row.measurements[OURS], reference = row.measurements[PYTORCH];
    const time = (measurement: Measurement | undefined): string => {
      if (!measurement) return "";
      if (!("ms" in measurement)) return notes.mark(measurement.reason);
      const { work } = row.case;
      return "things" in work && work.unit === "tokens"
        ? `${number(work.things * 1000 / measurement.ms)} ${work.unit}/s`
        : duration(measurement.ms);
    };
    const ratio = timed(reference);
    return [
      row.case.name,
      time(ours),
      time(reference),
      ratio ? `${number(ratio.ratio)}x (${number(ratio.processorRatio)}x)` : "",
    ];
  });
  return table(["work", "ours", PYTORCH, "PyTorch's time / ours (by processor time)"], lines);
}

/**
 * Results as Markdown.
 *
 * @param results The results.
 * @returns Paragraphs and tables.
 */
export function markdown(results: Results): string {
  const { adapter, machine, peaks, subjects, absent, rows, workloads } = results;
  const dates = rows.map(({ date }) => date.slice(0, 10)).toSorted();
  const span = [...new Set([dates[0] ?? "", dates.at(-1) ?? ""])].join(" to ");
  const tolerances = [...new Set(rows.map(({ tolerance }) => tolerance))];
  const notes = new Notes();
  const pytorchRows = rows.filter(({ measurements }) => PYTORCH in measurements);
  const parts = [
    `Adapter: ${adapter}; ${machine}. Measured ${span}. At best it reaches ${
      number(peaks.gflops)
    } GFLOP/s of multiply-adds in registers, and ${
      number(peaks.gigabytes)
    } GB/s in a kernel that copies, ${
      number(peaks.readGigabytes)
    } GB/s in one that only reads; the shares are of the first two.`,
    `Programs: ${subjects.map(({ name, version }) => `${name} ${version}`).join(", ")}.${
      subjects.length < 2
        ? ""
        : ` Results are equal within ${
          tolerances.map((name) => `${name} = ${TOLERANCES[name]}`).join(", ")
        } of the largest number of ours.`
    }`,
    comparisonTable(results, rows.filter(({ case: { against } }) => against !== "PyTorch"), notes),
  ];
  if (pytorchRows.length > 0) parts.push(pytorchTable(pytorchRows, notes));
  const missing = Object.entries(absent).map(([name, reason]) => `${name} is missing: ${reason}`);
  for (const text of [notes.text(), ...missing]) if (text) parts.push(text);
  if (workloads.length > 0) {
    const lines = workloads.map(({ name, ms, rate, unit }) => {
      const share = 100 * rate / (unit === "GFLOP/s" ? peaks.gflops : peaks.gigabytes);
      return [name, ms.toFixed(2), `${number(rate)} ${unit}`, `${share.toFixed(0)} %`];
    });
    parts.push(
      "The ops of the default training, ours alone:",
      table(["op", "ms", "rate", "of the peak"], lines),
    );
  }
  return parts.join("\n\n");
}

/**
 * Writes Markdown into a file, formatted: between its two markers, or as the whole file if it has none.
 *
 * @param file The file.
 * @param text What to write.
 */
export async function writeMarkdown(file: string, text: string): Promise<void> {
  let before = "", after = "\n";
  try {
    const old = await Deno.readTextFile(file);
    const begin = old.indexOf(BEGIN), end = old.indexOf(END);
    if (begin >= 0 && end > begin) {
      before = old.slice(0, begin);
      after = old.slice(end + END.length);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await Deno.writeTextFile(file, `${before}${BEGIN}\n\n${text}\n\n${END}${after}`);
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", file] }).output();
}
