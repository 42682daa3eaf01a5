/**
 * Runs the models of the published tables at their full sizes on the adapter at hand, each in a process of its own, and prints peak memory
 * and seconds as a Markdown table: `deno run -A --preload tools/gpu_env.ts bench/official_sizes.ts [--runs N] [ROW ...]`.
 *
 * Weights are random: neither memory nor time depends on them.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { parseArgs } from "@std/cli/parse-args";
import { Gpu } from "../kernels/gpu.ts";
import { generateTokens } from "../models/sampler.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { Transformer } from "../models/transformer.ts";
import { countParameters } from "../models/weights.ts";
import { ModuleContext, type ModuleContextOptions } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import {
  asTokenizer,
  asTransformer,
  completeTransformer,
  loadConfig,
} from "../train/config/mod.ts";
import { planStep, processBytes } from "../train/plan.ts";
import { openTrainingStep, type StepRun, stepRunOf } from "../train/training_step.ts";

/** What a row measures. */
interface Row {
  /** What is done, for the table. */
  readonly title: string;
  /** What it is planned to take: peak of the engine's own buffers, and of the process, in bytes. */
  readonly planned?: (gpu: Gpu) => Promise<{ bufferBytes: number; bytes: number }>;
  /** Makes the model and returns what is timed. */
  readonly prepare: (gpu: Gpu) => Promise<Prepared>;
  /** How often it runs; the first run compiles shaders. Default 2. */
  readonly runs?: number;
}

/** A model that is ready to run. */
interface Prepared extends Disposable {
  /** Numbers that are trained. */
  readonly parameters: number;
  /** Runs once, to the end. */
  readonly run: () => Promise<void>;
}

/** What the process of a row prints. */
interface Measurement {
  readonly adapter: string;
  readonly parameters: number;
  readonly prepareSeconds: number;
  /** Seconds of each run. */
  readonly seconds: readonly number[];
  /** Seconds of all processors in the last run. */
  readonly processorSeconds: number;
  /** Peak resident memory of the process in bytes, with the adapter's where that is software. */
  readonly peakBytes: number;
  /** Peak of the engine's own buffers in bytes. */
  readonly peakBufferBytes: number;
}

async function tokenizerOf(gpu: Gpu, codes: number): Promise<Tokenizer> {
  const { config } = asTokenizer(
    await loadConfig({ file: `configs/ibq_tokenizer_${codes}.yaml` }),
  );
  return new Tokenizer(new ModuleContext(gpu, 1), config.model.params);
}

async function transformerOf(
  gpu: Gpu,
  size: string,
  options: ModuleContextOptions = {},
): Promise<Transformer> {
  const file = `configs/ibq_transformer_${size}.yaml`;
  const loaded = asTransformer(await loadConfig({ file }));
  const { gpt } = completeTransformer(loaded.config, { tokenizer: null, classNum: 1000, file });
  return new Transformer(new ModuleContext(gpu, 1, options), gpt);
}

/** One image to tokens, and tokens to the image again. */
function encodeAndDecode(codes: number): Row {
  return {
    title: `tokenizer ${codes}: encode and decode 256 × 256`,
    prepare: async (gpu) => {
      const tokenizer = await tokenizerOf(gpu, codes);
      const size = 256;
      const image = Float32Array.from({ length: size * size * 3 }, (_, i) => Math.sin(i / 50));
      return {
        parameters: countParameters(tokenizer),
        run: async () => {
          using tape = new Tape(gpu, { record: false });
          const tokens = tokenizer.tokenize(tape.input(image, [1, size, size, 3]));
          await tokenizer.decodeIndices(tokens).read();
        },
        [Symbol.dispose]: () => tokenizer[Symbol.dispose](),
      };
    },
  };
}

/** The loss of one image. */
function forwardAndLoss(size: string): Row {
  return {
    title: `transformer ${size}: forward and loss of 256 tokens`,
    prepare: async (gpu) => {
      const transformer = await transformerOf(gpu, size);
      const tokens = Uint32Array.from({ length: 256 }, (_, i) => 37 * i % 16384);
      return {
        parameters: countParameters(transformer),
        run: async () => {
          using tape = new Tape(gpu, { record: false });
          const input = {
            tokens: tape.input(tokens.subarray(0, 255), [1, 255]),
            classes: tape.input(Uint32Array.of(207), [1]),
          };
          await transformer.forward(input).read();
          await transformer.loss({ ...input, targets: tape.input(tokens, [1, 256]) }).read();
        },
        [Symbol.dispose]: () => transformer[Symbol.dispose](),
      };
    },
  };
}

/** All tokens of one image, with guidance. */
function sample(size: string, options: { matrices: "f32" | "f16" }): Row {
  const guidance = 2;
  return {
    title: `transformer ${size}, ${options.matrices} weights: 256 tokens with guidance`,
    runs: 1,
    prepare: async (gpu) => {
      const transformer = await transformerOf(gpu, size, options);
      const parameters = countParameters(transformer);
      gpu.trim();
      return {
        parameters,
        run: async () => {
          await generateTokens(transformer, {
            classes: [207],
            seeds: [1],
            guidance,
            cacheType: options.matrices,
          });
        },
        [Symbol.dispose]: () => transformer[Symbol.dispose](),
      };
    },
  };
}

/** The run of a configuration in f32; a transformer of the default run learns the tokens of the default tokenizer. */
async function runOf(name: string): Promise<StepRun> {
  const overrides = ["trainer.precision=f32"];
  const { config } = asTokenizer(await loadConfig({ file: "configs/openmoji_tokenizer.yaml" }));
  const loaded = await loadConfig({ file: `configs/${name}.yaml`, overrides });
  return stepRunOf(loaded, config.model.params);
}

/** A whole training step in f32: in stage I both networks, the perceptual network at the configured width, and averages. */
function trainingStep(name: string, batchSize: number): Row {
  return {
    title: `${name}: training step of ${batchSize === 1 ? "1 image" : `${batchSize} images`}, f32`,
    planned: async (gpu) => {
      const hostBytes = Deno.memoryUsage().rss;
      const plan = await planStep(gpu, await runOf(name), batchSize);
      const { peakBytes } = plan;
      const bytes = gpu.adapter.software ? processBytes(plan, hostBytes) : peakBytes;
      return { bufferBytes: peakBytes, bytes };
    },
    prepare: async (gpu) => {
      const step = openTrainingStep(gpu, await runOf(name), batchSize);
      let number = 0;
      return {
        parameters: [...step.modules.values()].flat().filter(({ trainable }) => trainable)
          .reduce((sum, { size }) => sum + size, 0),
        run: async () => {
          await step.run(number++);
          await gpu.settle();
        },
        [Symbol.dispose]: () => step[Symbol.dispose](),
      };
    },
  };
}

/** Rows by the name that chooses them. */
const ROWS: Readonly<Record<string, Row>> = {
  "tokenizer-1024": encodeAndDecode(1024),
  "tokenizer-8192": encodeAndDecode(8192),
  "tokenizer-16384": encodeAndDecode(16384),
  "tokenizer-262144": encodeAndDecode(262144),
  "transformer-B": forwardAndLoss("B"),
  "transformer-L": forwardAndLoss("L"),
  "transformer-XL": forwardAndLoss("XL"),
  "transformer-XXL": forwardAndLoss("XXL"),
  "train-tokenizer-16384": trainingStep("ibq_tokenizer_16384", 1),
  "train-tokenizer-262144": trainingStep("ibq_tokenizer_262144", 1),
  "train-transformer-B": trainingStep("ibq_transformer_B", 1),
  "train-openmoji-tokenizer": trainingStep("openmoji_tokenizer", 16),
  "train-openmoji-transformer": trainingStep("openmoji_transformer", 16),
  "sample-B": sample("B", { matrices: "f16" }),
  "sample-XXL": sample("XXL", { matrices: "f16" }),
};

/** A line of /proc/self/status in bytes: the kernel counts in KiB. */
async function processMemory(key: "VmHWM" | "VmRSS"): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  const found = new RegExp(`${key}:\\s*(\\d+) kB`).exec(status);
  return Number(found?.[1] ?? NaN) * 1024;
}

function processorSeconds(): number {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
}

async function measure(row: Row, runs: number): Promise<Measurement> {
  using gpu = await Gpu.open();
  const start = performance.now();
  using prepared = await row.prepare(gpu);
  await gpu.settle();
  const prepareSeconds = (performance.now() - start) / 1000;
  const seconds: number[] = [];
  let used = 0;
  for (let i = 0; i < runs; i++) {
    const before = performance.now();
    const usedBefore = processorSeconds();
    await prepared.run();
    seconds.push((performance.now() - before) / 1000);
    used = processorSeconds() - usedBefore;
    const peak = gibibytes(await processMemory("VmHWM"));
    console.error(`run ${i + 1}: ${seconds.at(-1)!.toFixed(1)} s, peak ${peak} GiB`);
  }
  return {
    adapter: gpu.adapter.name,
    parameters: prepared.parameters,
    prepareSeconds,
    seconds,
    processorSeconds: used,
    peakBytes: await processMemory("VmHWM"),
    peakBufferBytes: gpu.stats().peakBytes,
  };
}

/** Measures a row in a new process, whose peak memory is the row's. */
async function measureApart(name: string, runs: number): Promise<Measurement> {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--preload", "tools/gpu_env.ts", "bench/official_sizes.ts"].concat(
      ...["--only", name, "--runs", String(runs)],
    ),
    stderr: "inherit",
  }).output();
  if (code !== 0) throw new Error(`Cannot measure ${name}: expected exit code 0, found ${code}`);
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
}

async function plannedOf(row: Row): Promise<{ bufferBytes: number; bytes: number } | undefined> {
  if (!row.planned) return undefined;
  using gpu = await Gpu.open();
  return await row.planned(gpu);
}

function gibibytes(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(2);
}

async function main(): Promise<void> {
  const { only, runs, _: chosen } = parseArgs(Deno.args, { string: ["only", "runs"] });
  if (only) {
    console.log(JSON.stringify(await measure(ROWS[only]!, Number(runs))));
    return;
  }
  const names = chosen.length > 0 ? chosen.map(String) : Object.keys(ROWS);
  const unknown = names.filter((name) => !(name in ROWS));
  if (unknown.length > 0) {
    throw new Error(
      `Cannot measure ${unknown.join(", ")}: expected rows of ${Object.keys(ROWS).join(", ")}`,
    );
  }
  let header = true;
  for (const name of names) {
    const planned = await plannedOf(ROWS[name]!);
    const found = await measureApart(name, Number(runs ?? ROWS[name]!.runs ?? 2));
    if (header) {
      console.log(`On ${found.adapter}:\n`);
      console.log(
        "| row | parameters | peak memory of the process, GiB | planned | of the buffers, GiB | planned | first run, s | again, s | of processors, s |",
      );
      console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
      header = false;
    }
    const [first = NaN, again] = found.seconds;
    const cells = [
      ROWS[name]!.title,
      found.parameters.toLocaleString("en-US"),
      gibibytes(found.peakBytes),
      planned ? gibibytes(planned.bytes) : "",
      gibibytes(found.peakBufferBytes),
      planned ? gibibytes(planned.bufferBytes) : "",
      first.toFixed(1),
      again?.toFixed(1) ?? "",
      found.processorSeconds.toFixed(1),
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
}

if (import.meta.main) await main();
