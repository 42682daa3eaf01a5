/**
 * Measures the quantizer with entropy loss, each run in a process of its own; with `--pytorch`, beside the reference's own code in PyTorch.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import {
  type Duration,
  LARGE_PRODUCTS,
  operationsOf,
  profileQuantizer,
  type QuantizerCase,
  type QuantizerReport,
  runQuantizer,
} from "./quantizer_run.ts";

const HELP = `Measures the quantizer with entropy loss, each run in a process of its own.

Usage: deno run -A --preload tools/gpu_env.ts bench/quantizer_bench.ts [OPTIONS]

  --codes N            entries of the codebook, 262144 by default
  --dimensions N       numbers of a code, 256 by default
  --tokens N           tokens, 256 by default
  --scale X            standard deviation of the tokens, 1 by default; that of the codes is 1
  --pass NAME          forward (no gradients) or both; both are measured by default
  --runs N             runs of each, 3 by default; the best counts
  --pytorch PYTHON     also run the reference's code with this Python, which has torch, numpy and einops;
  --reference FOLDER   a copy of SEED-Voken, which holds that code
  --profile            instead, print the time and the rates of each kernel of a second run
  --json               print JSON
  --help               show this text

Prints seconds, GFLOP/s and peak memory of a process's first run, compilation included, and seconds and GFLOP/s
of its second one, with the shares of what large products reach in the process. With --pytorch the runs
alternate, and ratios are printed: ours divided by the reference's, by wall clock and by processor time, which
other jobs lengthen less.`;

/** Runs a command that prints a report as its last line. */
async function reportOf(command: string, args: string[]): Promise<QuantizerReport> {
  const { stdout, stderr, success } = await new Deno.Command(command, { args }).output();
  const decoder = new TextDecoder();
  if (!success) {
    throw new Error(`Cannot run ${command}: expected success, found ${decoder.decode(stderr)}`);
  }
  return JSON.parse(decoder.decode(stdout).trim().split("\n").at(-1)!);
}

function sizeArguments({ codes, dimensions, tokens, scale, pass }: QuantizerCase): string[] {
  return Object.entries({ codes, dimensions, tokens, scale, pass })
    .flatMap(([name, value]) => [`--${name}`, String(value)]);
}

type Pass = QuantizerCase["pass"];
const PASSES: readonly Pass[] = ["forward", "both"];

/** Best seconds of the runs of one engine and one pass. */
interface BestDurations {
  forward: Duration;
  /** Forward and backward together, if both ran. */
  both?: Duration;
  backward?: Duration;
}

/** The same, and what else is reported. */
interface Best extends BestDurations {
  memoryMiB: number;
  losses: number[];
  /** Ours alone: of the second time in a process, and the best rates of its large products, in GFLOP/s. */
  again?: BestDurations & { products: Duration[] };
}

function bestDurations(
  reports: readonly Pick<QuantizerReport, "forward" | "backward">[],
): BestDurations {
  const best = (pick: (report: (typeof reports)[number]) => Duration): Duration => ({
    wall: Math.min(...reports.map((report) => pick(report).wall)),
    processor: Math.min(...reports.map((report) => pick(report).processor)),
  });
  const sum = (a: Duration, b: Duration): Duration => ({
    wall: a.wall + b.wall,
    processor: a.processor + b.processor,
  });
  return {
    forward: best(({ forward }) => forward),
    ...(reports[0]!.backward && {
      backward: best(({ backward }) => backward!),
      both: best(({ forward, backward }) => sum(forward, backward!)),
    }),
  };
}

function bestOf(reports: readonly QuantizerReport[]): Best {
  const again = reports.flatMap(({ again }) => again ?? []);
  const best = (rates: number[]): number => Math.max(...rates);
  return {
    ...bestDurations(reports),
    memoryMiB: Math.max(...reports.map(({ memoryMiB }) => memoryMiB)),
    losses: reports.map(({ loss }) => loss),
    ...(again.length > 0 && {
      again: {
        ...bestDurations(again),
        products: LARGE_PRODUCTS.map((_, i) => ({
          wall: best(again.map(({ products }) => products[i]!.wall)),
          processor: best(again.map(({ products }) => products[i]!.processor)),
        })),
      },
    }),
  };
}

function format(what: string, { wall, processor }: Duration): string {
  return `${what.padEnd(34)} ${wall.toFixed(2).padStart(8)} s ${
    processor.toFixed(2).padStart(8)
  } s of processors`;
}

async function bench(
  options: QuantizerCase,
  { passes, runs, pytorch }: { passes: readonly Pass[]; runs: number; pytorch?: string[] },
): Promise<void> {
  const script = new URL("quantizer_bench.ts", import.meta.url).pathname;
  const preload = new URL("../tools/gpu_env.ts", import.meta.url).pathname;
  const ours = ["run", "-A", "--preload", preload, script, "--child"];
  const operations = await operationsOf(options);
  const results: Record<string, { ours: Best; reference?: Best }> = {};
  for (const pass of passes) {
    const size = sizeArguments({ ...options, pass });
    const found = { ours: [] as QuantizerReport[], reference: [] as QuantizerReport[] };
    for (let run = 0; run < runs; run++) {
      found.ours.push(await reportOf(Deno.execPath(), [...ours, ...size]));
      if (!pytorch) continue;
      const [python, ...rest] = pytorch as [string, ...string[]];
      found.reference.push(await reportOf(python, [...rest, ...size]));
    }
    results[pass] = {
      ours: bestOf(found.ours),
      ...(pytorch && { reference: bestOf(found.reference) }),
    };
  }
  if (flags.json) {
    console.log(JSON.stringify({ ...options, runs, operations, results }));
    return;
  }
  const { tokens, codes, dimensions, scale } = options;
  console.log(`${tokens} tokens of deviation ${scale}, ${codes} codes of ${dimensions}`);
  const show = (
    what: string,
    pick: (best: BestDurations) => Duration,
    from: Pass,
    products: number,
  ): void => {
    const result = results[from];
    if (!result) return;
    const { ours, reference } = result;
    const time = pick(ours);
    const rate = (seconds: number): string =>
      (products * operations.product / seconds / 1e9).toFixed(1);
    console.log(
      `${format(what, time)}, ${rate(time.wall)} GFLOP/s over ${products} products (${
        rate(time.processor / navigator.hardwareConcurrency)
      } by processors), ${ours.memoryMiB} MiB`,
    );
    if (ours.again) {
      const { products: large } = ours.again;
      const again = pick(ours.again);
      const share = (seconds: number, pickRate: (rate: Duration) => number): string => {
        const gflops = products * operations.product / seconds / 1e9;
        const shares = LARGE_PRODUCTS.map((sizes, i) =>
          `${(100 * gflops / pickRate(large[i]!)).toFixed(0)} % of ${sizes.join("x")}`
        );
        return `${gflops.toFixed(1)} GFLOP/s, ${shares.join(", ")}`;
      };
      console.log(
        `${format("  again in the process", again)}, ${share(again.wall, ({ wall }) => wall)} (${
          share(again.processor / navigator.hardwareConcurrency, ({ processor }) => processor)
        } by processors)`,
      );
    }
    if (!reference) return;
    const theirs = pick(reference);
    console.log(`${format("  reference in PyTorch", theirs)}, ${reference.memoryMiB} MiB`);
    console.log(
      `  ratio ${(time.wall / theirs.wall).toFixed(2)} by wall clock, ${
        (time.processor / theirs.processor).toFixed(2)
      } by processors, ${(ours.memoryMiB / reference.memoryMiB).toFixed(2)} of the memory`,
    );
  };
  const { forward, backward } = operations;
  show("forward, no gradients", (best) => best.forward, "forward", forward);
  show("forward, with gradients", (best) => best.forward, "both", forward);
  show("backward", (best) => best.backward!, "both", backward);
  show("forward and backward", (best) => best.both!, "both", forward + backward);
}

const flags = parseArgs(Deno.args, {
  string: ["codes", "dimensions", "tokens", "scale", "runs", "pass", "pytorch", "reference"],
  boolean: ["child", "json", "help", "profile"],
  default: { codes: "262144", dimensions: "256", tokens: "256", scale: "1", runs: "3" },
});
const [codes, dimensions, tokens, scale] = [
  flags.codes,
  flags.dimensions,
  flags.tokens,
  flags.scale,
].map(Number) as [number, number, number, number];
if (flags.pass && !PASSES.some((pass) => pass === flags.pass)) {
  throw new TypeError(`Cannot measure: expected --pass forward or both, found ${flags.pass}`);
}
const options: QuantizerCase = {
  codes,
  dimensions,
  tokens,
  scale,
  pass: flags.pass === "forward" ? "forward" : "both",
};
if (flags.help) console.log(HELP);
else if (flags.profile) console.log(await profileQuantizer(options));
else if (flags.child) console.log(JSON.stringify(await runQuantizer(options)));
else if (flags.pytorch && !flags.reference) {
  throw new TypeError("Cannot run the reference: expected --reference FOLDER, found none");
} else {
  const script = new URL("pytorch/quantizer.py", import.meta.url).pathname;
  await bench(
    options,
    {
      passes: PASSES.filter((pass) => !flags.pass || flags.pass === pass),
      runs: Number(flags.runs),
      ...(flags.pytorch && {
        pytorch: [flags.pytorch, script, "--reference", flags.reference!],
      }),
    },
  );
}
