/** `deno task plan`: what a training step takes, before it is taken. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import type { MemoryUse } from "../../kernels/pool.ts";
import { estimateTime } from "../calibrate.ts";
import { asTokenizer, readConfig, resolveConfig, type TokenizerConfig } from "../config/mod.ts";
import { UserError } from "../errors.ts";
import { printResult, type Reporter } from "../log.ts";
import { memoryBudgetBytes, openGpu } from "../open_gpu.ts";
import {
  checkPlan,
  findRemedy,
  largestBatch,
  type LimitCheck,
  limitsOf,
  type MemoryLimits,
  planStep,
  processBytes,
  type StepPlan,
} from "../plan.ts";
import { type StepRun, stepRunOf } from "../training_step.ts";

/** What the command line says. */
export interface PlanCommand {
  /** File of `--config`. */
  readonly config: string;
  /** Images of `--batch`; undefined for the configuration's. */
  readonly batch: number | undefined;
  /** Bytes of `--memory`; undefined for a share of the machine's. */
  readonly memoryBytes: number | undefined;
  /** File of `--tokenizer`, for a transformer whose configuration names no tokenizer. */
  readonly tokenizer: string | undefined;
  /** Whether the time of a step is estimated. */
  readonly calibrate: boolean;
  /** Texts `key.path=value`. */
  readonly overrides: readonly string[];
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Names of the uses in the order of the table. */
const USES: readonly (readonly [MemoryUse, string])[] = [
  ["weights", "weights"],
  ["gradients", "gradients"],
  ["optimizer", "optimizer"],
  ["averages", "EMA"],
  ["activations", "activations"],
  ["workspace", "workspace"],
];

const SIZES: Readonly<Record<LimitCheck["name"], string>> = {
  "largest buffer": "per buffer",
  "largest binding": "per binding",
  "in all": "in all",
};

/**
 * Prints a plan.
 *
 * @param command What the command line says.
 * @returns Exit code: 0 if the step fits, 1 if it does not.
 * @throws {UserError} If the configuration is not what it should be.
 */
export async function runPlan(command: PlanCommand): Promise<number> {
  const { reporter } = command;
  const resolved = async (file: string, overrides: readonly string[]) =>
    resolveConfig(await readConfig(file), { overrides, codebookBudgetBytes: Infinity });
  const loaded = await resolved(command.config, command.overrides);
  for (const warning of loaded.warnings) reporter.warn(warning);
  const tokenizer: TokenizerConfig | null = command.tokenizer === undefined
    ? null
    : asTokenizer(await resolved(command.tokenizer, [])).config.model.params;
  const run = stepRunOf(loaded, tokenizer);
  using gpu = await openGpu();
  const hostBytes = Deno.memoryUsage().rss;
  const limits = limitsOf(gpu, command.memoryBytes ?? memoryBudgetBytes());
  const batchSize = await batchOf(gpu, run, { command, limits });
  const planned = await planStep(gpu, run, batchSize);
  // At the budget the pool destroys what waits for reuse.
  const budgetBytes = Math.max(planned.neededBytes, memoryBudgetBytes());
  const plan = { ...planned, peakBytes: Math.min(planned.peakBytes, budgetBytes) };
  const { trainer } = run.config;
  const parts = trainer.accumulateGradBatches;
  printResult(
    `${command.config} on ${gpu.adapter.name}: a training step of ${
      parts === 1 ? "" : `${parts} × `
    }${count(batchSize, "image")}, ${trainer.precision}\n`,
  );
  printModules(plan);
  printUses(plan);
  if (gpu.adapter.software) {
    const bytes = size(processBytes(plan, hostBytes)).padStart(15);
    printResult(`${"of the process".padEnd(45)}${bytes}, whose memory this adapter uses`);
  }
  const checks = checkPlan(plan, limits);
  printResult("");
  for (const { name, neededBytes, limitBytes, fits } of checks) {
    printResult(
      `${SIZES[name].padEnd(12)} ${fits ? "fits" : "DOES NOT FIT"}: ${size(neededBytes)} of ${
        size(limitBytes)
      }`,
    );
  }
  const fits = checks.every((check) => check.fits);
  if (!fits) await printRemedy(gpu, run, { batchSize, limits });
  if (command.calibrate && fits) await printTime(gpu, plan, reporter);
  return fits ? 0 : 1;
}

/** Images of a batch: of the command line, of the configuration, or as many as fit. */
async function batchOf(
  gpu: Gpu,
  run: StepRun,
  { command, limits }: { command: PlanCommand; limits: MemoryLimits },
): Promise<number> {
  const wanted = command.batch ?? run.config.data.params.batchSize;
  if (wanted !== "auto") return wanted;
  const found = await largestBatch(gpu, run, { limits });
  if (found > 0) {
    printResult(`the largest batch that fits has ${count(found, "image")}`);
    return found;
  }
  printResult("not even one image fits");
  return 1;
}

function printModules({ modules }: StepPlan): void {
  const line = (name: string, { count, bytes }: { count: number; bytes: number }): void =>
    printResult(
      `${name.padEnd(30)}${count.toLocaleString("en-US").padStart(15)} parameters ${
        size(bytes).padStart(12)
      }`,
    );
  const total = { count: 0, bytes: 0 };
  for (const [name, module] of modules) {
    line(name, module);
    total.count += module.count;
    total.bytes += module.bytes;
  }
  line("all", total);
}

function printUses({ uses, peakBytes, neededBytes }: StepPlan): void {
  const line = (title: string, most: string, atPeak: number): void =>
    printResult(`${title.padEnd(30)}${most.padStart(15)}${size(atPeak).padStart(15)}`);
  printResult(`\n${"".padEnd(30)}${"at most".padStart(15)}${"at the peak".padStart(15)}`);
  for (const [use, title] of USES) line(title, size(uses.most[use]), uses.atPeak[use]);
  line("released, for reuse", "", peakBytes - neededBytes);
  line("predicted peak", "", peakBytes);
}

async function printRemedy(
  gpu: Gpu,
  run: StepRun,
  options: { batchSize: number; limits: MemoryLimits },
): Promise<void> {
  const remedy = await findRemedy(gpu, run, options);
  printResult(
    remedy
      ? `\nit fits with: ${remedy.overrides.join(" ")}`
      : "\nnothing makes it fit: neither checkpointing, nor smaller batches, nor f16; it takes a smaller model or more memory",
  );
}

async function printTime(gpu: Gpu, plan: StepPlan, reporter: Reporter): Promise<void> {
  if (!gpu.features.has("timestamp-query")) {
    throw new UserError(
      `Cannot estimate the time of a step: expected an adapter that measures (feature timestamp-query), found ${gpu.adapter.name}; --no-time leaves it out`,
    );
  }
  reporter.info("measuring the dispatches that count most");
  const { seconds, measuredShare } = await estimateTime(gpu, plan);
  printResult(
    `\nabout ${seconds.toPrecision(2)} s a step, of which ${
      (100 * measuredShare).toFixed(0)
    } % measured on this adapter, now`,
  );
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function size(bytes: number): string {
  return bytes < 2 ** 30
    ? `${(bytes / 2 ** 20).toFixed(1)} MiB`
    : `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
