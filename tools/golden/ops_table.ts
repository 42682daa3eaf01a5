/** How the engine runs each op of `ops.safetensors`, by patterns of their names. @module */

import { clamp, gelu, leakyRelu, relu, sigmoid, silu, softplus } from "../../nn/activation.ts";
import { attention } from "../../nn/attention.ts";
import { batchNorm } from "../../nn/batch_norm.ts";
import { mulVector } from "../../nn/broadcast.ts";
import { conv2d } from "../../nn/conv2d.ts";
import { embedding } from "../../nn/embedding.ts";
import { groupNorm } from "../../nn/group_norm.ts";
import { linear } from "../../nn/linear.ts";
import { crossEntropy, l1Loss } from "../../nn/losses.ts";
import { add, reshape } from "../../nn/math.ts";
import { matmul } from "../../nn/matmul.ts";
import { averagePool, globalAveragePool, maxPool } from "../../nn/pooling.ts";
import { resizeBilinear, upsampleNearest2 } from "../../nn/resample.ts";
import { rotary, rotaryTable } from "../../nn/rotary.ts";
import { layerNorm, modulatedRmsNorm, rmsNorm } from "../../nn/row_norm.ts";
import { split } from "../../nn/shape.ts";
import { logSoftmax, softmax } from "../../nn/softmax.ts";
import { swiglu } from "../../nn/swiglu.ts";
import type { Tape } from "../../nn/tape.ts";
import { dims, type Parameter, type Tensor } from "../../nn/tensor.ts";
import { type JsonObject, numberOf, numbersOf } from "./json.ts";
import { type AxisOrder, HEADS, IMAGE, KERNEL } from "./layout.ts";

/** One op of the file. */
export interface OpCase {
  /** Its name. */
  op: string;
  /** Its inputs in the engine's order of axes. */
  inputs: Readonly<Record<string, Tensor>>;
  /** Its configuration. */
  config: JsonObject;
  /** Where it runs. */
  tape: Tape;
}

/** What an op made besides its output. */
export interface OpResult {
  /** Its output. */
  out: Tensor;
  /** Other results by the names of {@linkcode OpRunner.results}. */
  results: Readonly<Record<string, Parameter | Float32Array>>;
  /** Parameters to dispose after the comparison. */
  owned: readonly Parameter[];
}

/** How the engine runs an op. */
export interface OpRunner {
  /** The op's names. */
  pattern: RegExp;
  /** Order of axes by name of the tensor, where it is not the file's. */
  orders?: Readonly<Record<string, AxisOrder>>;
  /** Tensors of the file that are results besides `out`. */
  results?: readonly string[];
  /** Runs it. */
  run: (op: OpCase) => Tensor | OpResult;
}

const CONVOLUTION = { x: IMAGE, weight: KERNEL, out: IMAGE };
const IMAGES = { x: IMAGE, out: IMAGE };
const ATTENTION = { q: HEADS, k: HEADS, v: HEADS, out: HEADS };
const ATTENTION_BLOCK = {
  ...IMAGES,
  ...Object.fromEntries(["q", "k", "v", "proj_out"].map((name) => [`${name}__weight`, KERNEL])),
};

/** Groups of every group norm of the reference's encoder and decoder. */
const GROUPS = 32;

const RUNNERS: readonly OpRunner[] = [
  { pattern: /^conv_/, orders: CONVOLUTION, run: runConvolution },
  {
    pattern: /^group_norm_/,
    orders: IMAGES,
    run: ({ inputs, config }) =>
      groupNorm(tensor(inputs, "x"), affine(inputs), {
        groups: numberOf(config.groups, "groups"),
        eps: numberOf(config.eps, "eps"),
      }),
  },
  {
    pattern: /^batch_norm_train$/,
    orders: IMAGES,
    results: ["running_mean_after", "running_var_after"],
    run: (op) => runBatchNorm(op, { suffix: "_before", training: true }),
  },
  {
    pattern: /^batch_norm_eval$/,
    orders: IMAGES,
    run: (op) => runBatchNorm(op, { suffix: "", training: false }),
  },
  {
    pattern: /^layer_norm$/,
    run: ({ inputs, config }) =>
      layerNorm(tensor(inputs, "x"), affine(inputs), { eps: numberOf(config.eps, "eps") }),
  },
  {
    pattern: /^rms_norm$/,
    run: ({ inputs, config }) =>
      rmsNorm(tensor(inputs, "x"), tensor(inputs, "weight"), { eps: numberOf(config.eps, "eps") }),
  },
  { pattern: /^silu$/, run: ({ inputs }) => silu(tensor(inputs, "x")) },
  { pattern: /^relu$/, run: ({ inputs }) => relu(tensor(inputs, "x")) },
  { pattern: /^sigmoid$/, run: ({ inputs }) => sigmoid(tensor(inputs, "x")) },
  { pattern: /^softplus$/, run: ({ inputs }) => softplus(tensor(inputs, "x")) },
  {
    pattern: /^gelu_tanh$/,
    run: ({ inputs }) => gelu(tensor(inputs, "x"), { approximate: "tanh" }),
  },
  { pattern: /^gelu_erf$/, run: ({ inputs }) => gelu(tensor(inputs, "x")) },
  {
    pattern: /^leaky_relu$/,
    run: ({ inputs, config }) => leakyRelu(tensor(inputs, "x"), numberOf(config.slope, "slope")),
  },
  {
    pattern: /^clamp$/,
    run: ({ inputs, config }) =>
      clamp(tensor(inputs, "x"), {
        minimum: numberOf(config.min, "min"),
        maximum: numberOf(config.max, "max"),
      }),
  },
  {
    pattern: /^abs_mean$/,
    run: ({ inputs }) => l1Loss(tensor(inputs, "x"), tensor(inputs, "y")),
  },
  { pattern: /^softmax$/, run: ({ inputs }) => softmax(tensor(inputs, "x")) },
  // The axis of channels is the engine's last one.
  { pattern: /^softmax_dim1$/, orders: IMAGES, run: ({ inputs }) => softmax(tensor(inputs, "x")) },
  { pattern: /^log_softmax$/, run: ({ inputs }) => logSoftmax(tensor(inputs, "x")) },
  {
    pattern: /^cross_entropy/,
    run: ({ inputs, config }) =>
      crossEntropy(tensor(inputs, "x"), tensor(inputs, "target"), {
        reduction: config.reduction === "none" ? "none" : "mean",
      }),
  },
  {
    pattern: /^upsample_nearest2$/,
    orders: IMAGES,
    run: ({ inputs }) => upsampleNearest2(tensor(inputs, "x")),
  },
  {
    pattern: /^bilinear_/,
    orders: IMAGES,
    run: ({ inputs, config }) => {
      const [height = 0, width = 0] = numbersOf(config.size, "size");
      return resizeBilinear(tensor(inputs, "x"), { height, width });
    },
  },
  { pattern: /^(avg|max)_pool\d+_s\d+/, orders: IMAGES, run: runPooling },
  {
    pattern: /^adaptive_avg_pool1$/,
    orders: IMAGES,
    run: ({ inputs }) => globalAveragePool(tensor(inputs, "x")),
  },
  {
    pattern: /^linear/,
    run: ({ inputs }) =>
      linear(tensor(inputs, "x"), { weight: tensor(inputs, "weight"), bias: inputs.bias }),
  },
  {
    pattern: /^embedding$/,
    run: ({ inputs }) => embedding(tensor(inputs, "ids"), tensor(inputs, "weight")),
  },
  {
    pattern: /^bmm$/,
    run: ({ inputs }) => matmul(tensor(inputs, "input"), tensor(inputs, "mat2")),
  },
  {
    pattern: /^sdpa_/,
    orders: ATTENTION,
    run: ({ inputs, config }) =>
      attention(tensor(inputs, "q"), tensor(inputs, "k"), tensor(inputs, "v"), {
        causal: config.causal === true,
      }),
  },
  { pattern: /^attn_block$/, orders: ATTENTION_BLOCK, run: runAttentionBlock },
  {
    pattern: /^swiglu$/,
    run: ({ inputs }) => {
      const x = tensor(inputs, "x");
      const gate = linear(x, { weight: tensor(inputs, "w1") });
      const hidden = swiglu(gate, linear(x, { weight: tensor(inputs, "w3") }));
      return linear(hidden, { weight: tensor(inputs, "w2") });
    },
  },
  { pattern: /^ada_rms_norm$/, run: runAdaptiveNorm },
  { pattern: /^rope$/, results: ["freqs_cis"], run: runRotary },
];

/**
 * Finds how to run an op.
 *
 * @param op Its name.
 * @returns The runner, or undefined for an op that the table does not have.
 */
export function findRunner(op: string): OpRunner | undefined {
  return RUNNERS.find(({ pattern }) => pattern.test(op));
}

function tensor(inputs: OpCase["inputs"], name: string): Tensor {
  const found = inputs[name];
  if (!found) throw new RangeError(`Cannot run an op: expected its input ${name}, found none`);
  return found;
}

function affine(inputs: OpCase["inputs"]): { weight: Tensor; bias: Tensor } {
  return { weight: tensor(inputs, "weight"), bias: tensor(inputs, "bias") };
}

function runConvolution({ inputs, config }: OpCase): Tensor {
  const [left = 0, right = 0, top = 0, bottom = 0] = numbersOf(config.pad, "pad");
  return conv2d(tensor(inputs, "x"), { weight: tensor(inputs, "weight"), bias: inputs.bias }, {
    stride: numberOf(config.stride, "stride"),
    padding: [top, bottom, left, right],
  });
}

/** Windows are in the name only, such as `avg_pool3_s1_p1_include`. */
function runPooling({ op, inputs }: OpCase): Tensor {
  const match = /^(avg|max)_pool(\d+)_s(\d+)(?:_p(\d+))?/.exec(op);
  const [, kind, kernel, stride, padding = 0] = match ?? [];
  const x = tensor(inputs, "x");
  const windows = { kernel: Number(kernel), stride: Number(stride), padding: Number(padding) };
  if (kind === "max") return maxPool(x, windows);
  return averagePool(x, { ...windows, includePadding: !op.endsWith("_exclude") });
}

function runBatchNorm(
  { inputs, config, tape }: OpCase,
  options: { suffix: string; training: boolean },
): OpResult {
  const { suffix, training } = options;
  const mean = tape.keep(tensor(inputs, `running_mean${suffix}`));
  const variance = tape.keep(tensor(inputs, `running_var${suffix}`));
  const batchesTracked = tape.keep(tape.input(new Uint32Array(1), []));
  const out = batchNorm(tensor(inputs, "x"), affine(inputs), {
    running: { mean, variance, batchesTracked },
    training,
    eps: numberOf(config.eps, "eps"),
    ...(training ? { momentum: numberOf(config.momentum, "momentum") } : {}),
  });
  const results: Record<string, Parameter> = training
    ? { running_mean_after: mean, running_var_after: variance }
    : {};
  return { out, results, owned: [mean, variance, batchesTracked] };
}

/** Attention of all positions of an image to each other; weights of module `q` are called `q__weight` and so on. */
function runAttentionBlock({ inputs }: OpCase): Tensor {
  const x = tensor(inputs, "x");
  const { batch, height, width, channels } = dims(x, "batch height width channels", "attn_block");
  const module = (name: string): { weight: Tensor; bias: Tensor } => ({
    weight: tensor(inputs, `${name}__weight`),
    bias: tensor(inputs, `${name}__bias`),
  });
  const normalized = groupNorm(x, module("norm"), { groups: GROUPS });
  const tokens = (name: string): Tensor =>
    reshape(conv2d(normalized, module(name)), [batch, height * width, 1, channels]);
  const mixed = attention(tokens("q"), tokens("k"), tokens("v"));
  return add(x, conv2d(reshape(mixed, x.shape), module("proj_out")));
}

function runAdaptiveNorm({ inputs, config }: OpCase): Tensor {
  const x = tensor(inputs, "x");
  const width = x.shape.at(-1) ?? 0;
  const vectors = linear(silu(tensor(inputs, "cond")), {
    weight: tensor(inputs, "lin_weight"),
    bias: tensor(inputs, "lin_bias"),
  });
  const [gamma, , scale, , shift] = split(vectors, [width, width, width, width, width, width]);
  const weight = tensor(inputs, "norm_weight");
  const eps = numberOf(config.eps, "eps");
  return mulVector(modulatedRmsNorm(x, weight, { scale, shift }, { eps }), gamma);
}

function runRotary({ inputs, config, tape }: OpCase): OpResult {
  const headDim = numberOf(config.head_dim, "head_dim");
  const table = rotaryTable({
    gridSize: numberOf(config.grid, "grid"),
    headDim,
    base: numberOf(config.base, "base"),
    classTokens: numberOf(config.cls_token_num, "cls_token_num"),
  });
  const positions = table.length / headDim;
  const out = rotary(tensor(inputs, "x"), tape.input(table, [positions, headDim / 2, 2]));
  return { out, results: { freqs_cis: table }, owned: [] };
}
