/**
 * Measures sampling by the transformer of size B; with `--pytorch`, beside the reference's own code in PyTorch.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { cpuUsage } from "node:process";
import { Gpu } from "../kernels/gpu.ts";
import { generateTokens } from "../models/sampler.ts";
import { Transformer } from "../models/transformer.ts";
import { ModuleContext } from "../nn/module.ts";
import { measureReadBandwidth } from "./read_bandwidth.ts";
import { measureProducts } from "./sampling_products.ts";

const HELP =
  `Measures sampling of one image with guidance by the transformer of size B, with random weights.

Usage: deno run -A --preload tools/gpu_env.ts bench/sampling_bench.ts [OPTIONS]

  --precision LIST     types of weights, keys and values, separated by commas: f32,f16 by default
  --tokens N           tokens of the image, a square, 16 by default; the published model has 256
  --rounds N           measurements of each, 3 by default; the best counts
  --pytorch PYTHON     also run the reference's code with this Python, which has torch, numpy, einops and tqdm;
  --reference FOLDER   a copy of SEED-Voken, which holds that code
  --products           also measure each product of a token alone
  --json               print JSON
  --help               show this text

Prints tokens a second, how many the adapter's best read bandwidth would allow, and the share of that. With
--pytorch the measurements alternate, and ratios are printed: our rate divided by the reference's. Rates are by
wall clock and, less lengthened by other jobs, by the time that processors worked.`;

/** @see SEED-Voken configs/IBQ/gpu/imagenet_conditional_llama_B.yaml, but for the number of tokens. */
const MODEL = { vocabSize: 16384, nLayer: 16, nHead: 16, nEmbd: 1024, classNum: 1000 };

/** Seconds of sampling, or the rate of it. */
interface Measured {
  wall: number;
  processor: number;
}

async function measure(body: () => Promise<unknown>): Promise<Measured> {
  const before = cpuUsage();
  const begin = performance.now();
  await body();
  const { user, system } = cpuUsage(before);
  return { wall: (performance.now() - begin) / 1000, processor: (user + system) / 1e6 };
}

/** Best of measurements, as tokens a second; processors count as if all worked all the time. */
function rateOf(measured: readonly Measured[]): Measured {
  const seconds = (pick: (each: Measured) => number): number => Math.min(...measured.map(pick));
  return {
    wall: TOKENS / seconds(({ wall }) => wall),
    processor: TOKENS * navigator.hardwareConcurrency / seconds(({ processor }) => processor),
  };
}

/** The reference's process, which samples when it is asked to. */
class Reference implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor(python: string, folder: string) {
    const script = new URL("pytorch/sampling.py", import.meta.url).pathname;
    this.#process = new Deno.Command(python, {
      args: [script, "--reference", folder],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#answers = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  async measure(): Promise<Measured> {
    await this.#input.write(new TextEncoder().encode(`${TOKENS}\n`));
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#answers.read();
      if (done) throw new Error("Cannot run the reference: expected an answer, found its end");
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const answer: Measured = JSON.parse(this.#rest.slice(0, end));
    this.#rest = this.#rest.slice(end + 1);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    await this.#answers.cancel();
    await this.#process.status;
  }
}

/** Bytes of the weights that every token reads: of all linear maps that are not applied to the class alone. */
function bytesOfToken(transformer: Transformer): number {
  let bytes = 0;
  for (const [name, { shape, storage }] of transformer.namedParameters()) {
    if (shape.length === 2 && !/emb|ada_lin/.test(name)) bytes += storage.bytes;
  }
  return bytes;
}

async function bench(
  precisions: readonly ("f32" | "f16")[],
  rounds: number,
  reference: Reference | undefined,
): Promise<void> {
  using gpu = await Gpu.open();
  const readBandwidth = await measureReadBandwidth(gpu);
  await reference?.measure();
  const print = (text: string): void => {
    if (!flags.json) console.log(text);
  };
  const both = (what: string, { wall, processor }: Measured, unit = ""): void =>
    print(
      `${what.padEnd(40)} ${wall.toFixed(2).padStart(7)} ${unit} by wall clock, ${
        processor.toFixed(2)
      } by processors`,
    );
  print(gpu.adapter.name);
  both(
    "best read bandwidth of a kernel",
    divide(readBandwidth, { wall: 1e9, processor: 1e9 }),
    "GB/s",
  );
  const printProducts = async (gpu: Gpu, half: boolean): Promise<void> => {
    const token = { wall: 0, processor: 0 };
    for (const { name, bytes, times, ms, processorMs } of await measureProducts(gpu, half)) {
      const seconds = {
        wall: ms / 1000,
        processor: processorMs / 1000 / navigator.hardwareConcurrency,
      };
      token.wall += times * seconds.wall;
      token.processor += times * seconds.processor;
      both(`  ${name}`, divide({ wall: bytes / 1e9, processor: bytes / 1e9 }, seconds), "GB/s");
    }
    both("  a token's products alone", divide({ wall: 1, processor: 1 }, token), "tokens/s");
  };
  const results = [];
  for (const precision of precisions) {
    using transformer = new Transformer(new ModuleContext(gpu, 1), {
      ...MODEL,
      blockSize: TOKENS,
    });
    transformer.convertMatrices(precision);
    gpu.trim();
    const sample = (): Promise<Measured> =>
      measure(() =>
        generateTokens(transformer, {
          classes: [7],
          seeds: [1],
          guidance: 2,
          cacheType: precision,
        })
      );
    const first = await sample();
    const bytes = bytesOfToken(transformer);
    print(
      `weights in ${precision}: ${(bytes / 1e9).toFixed(2)} GB a token; first ${TOKENS} tokens in ${
        first.wall.toFixed(1)
      } s`,
    );
    const ours: Measured[] = [];
    const theirs: Measured[] = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(await sample());
      if (reference) theirs.push(await reference.measure());
    }
    const rate = rateOf(ours);
    const bound = divide(readBandwidth, { wall: bytes, processor: bytes });
    both("  sampling", rate, "tokens/s");
    both("  bound by read bandwidth", bound, "tokens/s");
    both("  share of the bound", divide(rate, bound));
    const pytorch = reference && rateOf(theirs);
    if (pytorch) {
      both("  reference in PyTorch, f32", pytorch, "tokens/s");
      both("  ratio to it", divide(rate, pytorch));
    }
    if (flags.products) await printProducts(gpu, precision === "f16");
    results.push({ precision, bytes, firstSeconds: first.wall, rate, bound, pytorch });
  }
  if (flags.json) {
    console.log(JSON.stringify({ adapter: gpu.adapter.name, readBandwidth, results }));
  }
}

function divide(a: Measured, b: Measured): Measured {
  return { wall: a.wall / b.wall, processor: a.processor / b.processor };
}

const flags = parseArgs(Deno.args, {
  string: ["precision", "tokens", "rounds", "pytorch", "reference"],
  boolean: ["products", "json", "help"],
  default: { rounds: "3", tokens: "16" },
});
/** With few of them, what is done once an image counts for more: what the class does to each block, and copies of the weights. */
const TOKENS = Number(flags.tokens);

function precisionsOf(text: string): ("f32" | "f16")[] {
  return text.split(",").map((name) => {
    if (name === "f32" || name === "f16") return name;
    throw new TypeError(`Cannot measure: expected precision f32 or f16, found "${name}"`);
  });
}

if (flags.help) console.log(HELP);
else if (flags.pytorch && !flags.reference) {
  throw new TypeError("Cannot run the reference: expected --reference FOLDER, found none");
} else {
  await using reference = flags.pytorch
    ? new Reference(flags.pytorch, flags.reference!)
    : undefined;
  await bench(precisionsOf(flags.precision ?? "f32,f16"), Number(flags.rounds), reference);
}
