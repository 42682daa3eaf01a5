/**
 * Times kernels and whole steps on this adapter, beside other programs: `deno task bench [NAMES]`.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { Gpu } from "../kernels/gpu.ts";
import { measurePeaks, type Peaks } from "../kernels/peaks.ts";
import { type Case, CASES } from "./cases.ts";
import { Comparison, OURS, type Row } from "./compare.ts";
import { measureTime } from "./rate.ts";
import { markdown, PYTORCH, rowText, workloadText, writeMarkdown } from "./report.ts";
import {
  describeMachine,
  mergeResults,
  readResults,
  type Results,
  type WorkloadRow,
} from "./results.ts";
import type { SubjectCommand } from "./subject_process.ts";
import { workloadGroups } from "./workloads.ts";

const HELP =
  `Times kernels and whole steps on this adapter, beside other programs where they can run.

Usage: deno task bench [NAMES] [OPTIONS]

  NAMES             only work whose name has one of these texts in it, such as conv or step
  --peers LIST      of tfjs, jax, ort, separated by commas, or none; these are fetched if they are not there.
                    Default: those that are there already
  --rounds N        timed batches of each program, one after the other (default 5)
  --pytorch PYTHON  also the reference's code on PyTorch, by this Python with torch, numpy, einops and pyyaml
  --reference PATH  a checkout of the reference, for --pytorch
  --json FILE       write the results; lines of FILE that this run does not measure stay, if the adapter is the same
  --markdown FILE   write them as tables, between FILE's two bench markers if it has them
  --help            show this text

Every program has a process of its own. They compute the same numbers, take turns, and are checked against each
other. Rates are shown with their share of what the adapter reaches at best, measured in the same run.`;

const here = (file: string): string => new URL(file, import.meta.url).pathname;

/** Subjects by the name of their option. */
const PEERS: Readonly<Record<string, readonly [name: string, file: string, argument?: string][]>> =
  {
    tfjs: [["tfjs webgpu", "tfjs.ts"]],
    jax: [["jax-js webgpu", "jax.ts", "webgpu"], ["jax-js wasm", "jax.ts", "wasm"]],
    ort: [["onnxruntime-web webgpu", "ort.ts"]],
  };

/** What the command line asks for. */
interface Wishes {
  names: readonly string[];
  peers: readonly string[] | undefined;
  rounds: number;
  pytorch: { python: string; reference: string } | undefined;
  json: string | undefined;
  markdown: string | undefined;
}

function parse(args: readonly string[]): Wishes | undefined {
  const flags = parseArgs([...args], {
    boolean: ["help"],
    string: ["peers", "rounds", "pytorch", "reference", "json", "markdown"],
    alias: { help: "h" },
    unknown: (argument) => {
      if (argument.startsWith("-")) throw new TypeError(`Unknown option ${argument}; see --help`);
      return true;
    },
  });
  if (flags.help) return undefined;
  const rounds = Number(flags.rounds ?? 5);
  if (!(Number.isInteger(rounds) && rounds > 0)) {
    throw new RangeError(`--rounds: expected a positive integer, found ${flags.rounds}`);
  }
  const peers = flags.peers?.split(",").filter((name) => name !== "none");
  for (const name of peers ?? []) {
    if (!(name in PEERS)) {
      throw new RangeError(`--peers: expected ${Object.keys(PEERS)} or none, found ${name}`);
    }
  }
  if ((flags.pytorch === undefined) !== (flags.reference === undefined)) {
    throw new TypeError("--pytorch and --reference: expected both or neither, found one");
  }
  return {
    names: flags._.map(String),
    peers,
    rounds,
    pytorch: flags.pytorch === undefined || flags.reference === undefined
      ? undefined
      : { python: flags.pytorch, reference: flags.reference },
    json: flags.json,
    markdown: flags.markdown,
  };
}

/** How to start the subjects, the engine first. */
function commands({ peers, pytorch }: Wishes): SubjectCommand[] {
  const program = Deno.execPath();
  const ours = { name: OURS, program, args: ["run", "-A", here("ours.ts")], hint: "see above" };
  // Peers that nobody named run only where they are already: a bench does not download by itself.
  const cached = peers ? [] : ["--cached-only"];
  const others = (peers ?? Object.keys(PEERS)).flatMap((option) =>
    PEERS[option]!.map(([name, file, argument]) => ({
      name,
      program,
      args: [
        ...["run", "-A", "--frozen", ...cached, "--config", here("peers/deno.json")],
        here(`peers/${file}`),
        ...(argument === undefined ? [] : [argument]),
      ],
      hint: `--peers ${option} fetches it`,
    }))
  );
  const reference = pytorch && {
    name: PYTORCH,
    program: pytorch.python,
    args: [here("pytorch/subject.py"), pytorch.reference],
    hint: "it needs torch, numpy, einops and pyyaml",
  };
  return [ours, ...others, ...(reference ? [reference] : [])];
}

function isWanted(name: string, names: readonly string[]): boolean {
  return names.length === 0 || names.some((text) => name.includes(text));
}

/** Large models are for GPUs, for the comparison with PyTorch, and for who names them. */
function casesOf(wishes: Wishes, software: boolean): Case[] {
  const { names, pytorch } = wishes;
  return CASES.filter(({ name, against }) =>
    isWanted(name, names) && (against !== "PyTorch" || pytorch || names.length > 0 || !software)
  );
}

/** What the comparison found so far. */
type Compared = Pick<Results, "subjects" | "absent" | "rows">;

async function compare(
  wishes: Wishes,
  { cases, peaks }: { cases: readonly Case[]; peaks: Peaks },
  save: (compared: Compared) => Promise<void>,
): Promise<Compared> {
  const folder = await Deno.makeTempDir({ prefix: "tessera-bench-" });
  try {
    await using comparison = await Comparison.start(commands(wishes), {
      rounds: wishes.rounds,
      folder,
    });
    const { subjects, absent } = comparison;
    for (const [name, reason] of Object.entries(absent)) console.log(`without ${name}: ${reason}`);
    const rows: Row[] = [];
    for (const each of cases) {
      const names = subjects.map(({ name }) => name).filter((name) =>
        each.against === "both" || (name === PYTORCH) === (each.against === "PyTorch")
      );
      const row = await comparison.run(each, new Set(names));
      console.log(rowText(row, peaks));
      rows.push(row);
      await save({ subjects, absent, rows });
    }
    return { subjects, absent, rows };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The ops of the default training, ours alone. */
async function measureWorkloads(names: readonly string[], peaks: Peaks): Promise<WorkloadRow[]> {
  using gpu = await Gpu.open();
  const rows: WorkloadRow[] = [];
  for (const group of workloadGroups(gpu)) {
    using _group = group;
    for (const { name, work, record } of group.workloads) {
      if (!isWanted(name, names)) continue;
      const { ms } = await measureTime(gpu, record);
      const [amount, unit] = "operations" in work
        ? [work.operations, "GFLOP/s" as const]
        : [work.bytes, "GB/s" as const];
      const row = { name, ms, rate: amount / 1e6 / ms, unit };
      console.log(workloadText(row, peaks));
      rows.push(row);
    }
  }
  return rows;
}

async function bench(wishes: Wishes): Promise<void> {
  const { adapter, software, peaks } = await describeAdapter();
  const machine = await describeMachine();
  const earlier = wishes.json === undefined ? undefined : await readResults(wishes.json);
  // Line by line, so that a run which is cut off leaves what it found.
  const save = async (compared: Compared, workloads: readonly WorkloadRow[]): Promise<void> => {
    const results = mergeResults(earlier, { adapter, machine, peaks, ...compared, workloads });
    if (wishes.json) await Deno.writeTextFile(wishes.json, `${JSON.stringify(results, null, 2)}\n`);
    if (wishes.markdown) await writeMarkdown(wishes.markdown, markdown(results));
  };
  const cases = casesOf(wishes, software);
  const compared = await compare(wishes, { cases, peaks }, (found) => save(found, []));
  await save(compared, await measureWorkloads(wishes.names, peaks));
}

async function describeAdapter(): Promise<{ adapter: string; software: boolean; peaks: Peaks }> {
  using gpu = await Gpu.open();
  const { name: adapter, software } = gpu.adapter;
  const peaks = await measurePeaks(gpu, async (record) => (await measureTime(gpu, record)).ms);
  console.log(
    `${adapter}: ${peaks.gflops.toFixed(0)} GFLOP/s of multiply-adds, ${
      peaks.gigabytes.toFixed(1)
    } GB/s of copies, ${peaks.readGigabytes.toFixed(1)} GB/s of reads`,
  );
  return { adapter, software, peaks };
}

if (import.meta.main) {
  const wishes = parse(Deno.args);
  if (wishes) await bench(wishes);
  else console.log(HELP);
}
