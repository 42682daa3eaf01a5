/** The ops of the default training at its own sizes: configs/openmoji_*.yaml, 16 images a step. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { silu } from "../nn/activation.ts";
import { attention } from "../nn/attention.ts";
import { ExponentialMovingAverage } from "../nn/ema.ts";
import { groupNorm } from "../nn/group_norm.ts";
import { linearCrossEntropy } from "../nn/head_loss.ts";
import { crossEntropy } from "../nn/losses.ts";
import { add } from "../nn/math.ts";
import { ModuleContext } from "../nn/module.ts";
import { Adam } from "../nn/optim.ts";
import { quantize } from "../nn/quantizer.ts";
import { upsampleNearest2 } from "../nn/resample.ts";
import { modulatedRmsNorm, rmsNorm } from "../nn/row_norm.ts";
import { swiglu } from "../nn/swiglu.ts";
import { Tape } from "../nn/tape.ts";
import { Parameter, sizeOf, type Tensor } from "../nn/tensor.ts";
import { conv2dPasses, geometry } from "./conv2d_bench.ts";
import { linearPasses } from "./matmul_bench.ts";

/** One line of the table. */
export interface Workload {
  /** The op and its sizes. */
  readonly name: string;
  /** What it does at least: floating-point operations, or bytes that are read or written. */
  readonly work: { readonly operations: number } | { readonly bytes: number };
  /** Records one repetition. */
  readonly record: () => void;
}

/** Workloads over buffers that they share. */
export interface WorkloadGroup extends Disposable {
  /** The workloads. */
  readonly workloads: readonly Workload[];
}

/** A differentiable op over random inputs. */
interface OpWorkload {
  name: string;
  shapes: readonly (readonly number[])[];
  run: (...inputs: Tensor[]) => Tensor;
  /** Floating-point operations forward, and of both passes; default: both are counted in bytes. */
  operations?: readonly [forward: number, both: number];
  /** Inputs that are indices below this number. */
  indices?: { input: number; below: number };
}

const BATCH = 16;
/** Convolutions of encoder and decoder. */
const CONVOLUTIONS = [
  geometry(BATCH, 32, [3, 16], 3, 1),
  geometry(BATCH, 32, [16, 16], 3, 1),
  geometry(BATCH, 16, [32, 32], 3, 1),
  geometry(BATCH, 32, [16, 3], 3, 1),
];
/** Rows, inputs and outputs of linear layers: queries, keys and values; feed-forward part; head. */
const LINEAR_LAYERS = [[4096, 64, 192], [4096, 192, 64], [4096, 64, 512]] as const;
/** Images, tokens, heads and numbers of a head. */
const HEADS = [BATCH, 256, 4, 16];
const TOKENS = 4096;
const CODES = 512;
const CODE_SIZE = 32;
/** Multiply-adds of one of the two products of attention. */
const ATTENTION_PRODUCT = BATCH * 256 * 256 * 4 * 16;
const QUANTIZER_PRODUCT = TOKENS * CODES * CODE_SIZE;
/** About as many weights as the default models have. */
const WEIGHTS = 2 ** 19;
/** About as many parameters as one of them has. */
const PARAMETERS = 128;

const OPS: readonly OpWorkload[] = [
  {
    name: "attention, causal",
    shapes: [HEADS, HEADS, HEADS],
    run: (query, key, value) => attention(query!, key!, value!, { causal: true }),
    operations: [4 * ATTENTION_PRODUCT, 12 * ATTENTION_PRODUCT],
  },
  {
    name: "IBQ quantizer with entropies",
    shapes: [[TOKENS, CODE_SIZE], [CODES, CODE_SIZE]],
    run: (z, codebook) => quantize(z!, codebook!, { useEntropyLoss: true }).zq,
    // Logits; the gradients of codes, of tokens, and straight through to the softmax.
    operations: [2 * QUANTIZER_PRODUCT, 2 * 4 * QUANTIZER_PRODUCT],
  },
  { name: "add", shapes: [[BATCH, 32, 32, 16], [BATCH, 32, 32, 16]], run: (a, b) => add(a!, b!) },
  { name: "silu", shapes: [[BATCH, 32, 32, 16]], run: (x) => silu(x!) },
  {
    name: "group norm",
    shapes: [[BATCH, 32, 32, 16], [16], [16]],
    run: (x, weight, bias) => groupNorm(x!, { weight: weight!, bias: bias! }, { groups: 8 }),
  },
  {
    name: "RMS norm",
    shapes: [[TOKENS, 64], [64]],
    run: (x, weight) => rmsNorm(x!, weight!),
  },
  {
    name: "RMS norm, modulated",
    shapes: [[BATCH, 256, 64], [64], [BATCH, 64], [BATCH, 64]],
    run: (x, weight, scale, shift) =>
      modulatedRmsNorm(x!, weight!, { scale: scale!, shift: shift! }),
  },
  {
    name: "SwiGLU",
    shapes: [[TOKENS, 192], [TOKENS, 192]],
    run: (gate, x) => swiglu(gate!, x!),
  },
  {
    name: "head with cross entropy",
    shapes: [[TOKENS, 64], [CODES, 64], [TOKENS]],
    run: (x, weight, targets) => linearCrossEntropy(x!, weight!, targets!),
    operations: [2 * TOKENS * 64 * CODES, 6 * TOKENS * 64 * CODES],
    indices: { input: 2, below: CODES },
  },
  { name: "nearest doubling", shapes: [[BATCH, 16, 16, 32]], run: (x) => upsampleNearest2(x!) },
  {
    name: "cross entropy",
    shapes: [[TOKENS, CODES], [TOKENS]],
    run: (logits, targets) => crossEntropy(logits!, targets!),
    indices: { input: 1, below: CODES },
  },
];

/**
 * Opens the workloads group by group, so that one group's buffers are given back before the next takes its own.
 *
 * @param gpu The device.
 */
export function* workloadGroups(gpu: Gpu): Generator<WorkloadGroup> {
  const convolutions = CONVOLUTIONS.map((sizes) => () => conv2dPasses(gpu, sizes));
  const layers = LINEAR_LAYERS.map((sizes) => () => linearPasses(gpu, sizes));
  for (const open of [...convolutions, ...layers]) {
    const passes = open();
    const { operations } = passes;
    yield {
      workloads: Object.entries(passes.record).map(([pass, record]) => ({
        name: `${passes.name} ${pass}`,
        work: { operations },
        record,
      })),
      [Symbol.dispose]: () => passes[Symbol.dispose](),
    };
  }
  for (const op of OPS) yield opGroup(gpu, op);
  yield optimizerGroup(gpu);
}

function numbers(context: ModuleContext, shape: readonly number[]): Parameter {
  return context.parameter(shape, { kind: "normal", standardDeviation: 0.5 });
}

function opGroup(gpu: Gpu, op: OpWorkload): WorkloadGroup {
  const context = new ModuleContext(gpu, 1);
  const { indices, operations } = op;
  const inputs = op.shapes.map((shape, i) => {
    if (i !== indices?.input) return numbers(context, shape);
    const parameter = new Parameter(gpu, shape, { dtype: "u32" });
    parameter.write(Uint32Array.from({ length: sizeOf(shape) }, (_, j) => j % indices.below));
    return parameter;
  });
  const run = (options: { gradients: boolean }): readonly number[] => {
    using tape = new Tape(gpu, { record: options.gradients });
    const tensors = inputs.map((input) => tape.constant(input));
    const y = op.run(...tensors);
    if (options.gradients) {
      const wrt = tensors.filter(({ dtype }) => dtype === "f32");
      tape.grad(y, wrt, { gradient: tape.constant(upstream), last: true });
    }
    return y.shape;
  };
  // The first run shows the size of the output.
  let upstream = numbers(context, [1]);
  const shape = run({ gradients: false });
  upstream[Symbol.dispose]();
  upstream = numbers(context, shape);
  const read = 4 * inputs.reduce((sum, input) => sum + input.size, 0);
  const written = 4 * upstream.size;
  return {
    workloads: [
      {
        name: `${op.name} [${op.shapes[0]}] forward`,
        work: operations ? { operations: operations[0] } : { bytes: read + written },
        record: () => void run({ gradients: false }),
      },
      {
        name: `${op.name} [${op.shapes[0]}] both passes`,
        // The way back reads inputs and upstream gradient, and writes the gradients of the inputs.
        work: operations ? { operations: operations[1] } : { bytes: 3 * read + 2 * written },
        record: () => void run({ gradients: true }),
      },
    ],
    [Symbol.dispose]: () => [...inputs, upstream].forEach((each) => each[Symbol.dispose]()),
  };
}

function optimizerGroup(gpu: Gpu): WorkloadGroup {
  const context = new ModuleContext(gpu, 1);
  const sizes = Array.from({ length: PARAMETERS }, () => [WEIGHTS / PARAMETERS]);
  const weights = sizes.map((shape) => numbers(context, shape));
  const gradients = sizes.map((shape) => numbers(context, shape));
  const named = weights.map((parameter, i): [string, Parameter] => [`${i}`, parameter]);
  const adam = new Adam(named);
  const averages = new ExponentialMovingAverage(named);
  const record = (): void => {
    using tape = new Tape(gpu, { record: false });
    const found = weights.map((parameter, i): [Parameter, Tensor] => [
      parameter,
      tape.constant(gradients[i]!),
    ]);
    adam.step(new Map(found), { learningRate: 1e-6, clip: 1, averages });
    averages.update();
  };
  return {
    // Weights, moments and averages are read and written, gradients are read for the norm and for the step.
    workloads: [{
      name: `Adam, clipped, with averages, [${PARAMETERS}, ${WEIGHTS / PARAMETERS}]`,
      work: { bytes: 40 * WEIGHTS },
      record,
    }],
    [Symbol.dispose]: () =>
      [averages, adam, ...weights, ...gradients].forEach((each) => each[Symbol.dispose]()),
  };
}
