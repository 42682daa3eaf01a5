/**
 * What is compared: the same work, sizes and data for every subject. No imports but its neighbor, so that the peers' own
 * configuration can use it.
 *
 * Layouts are the engine's: (batch, height, width, channels), weights (height, width, inputs, outputs), heads (batch, tokens, heads,
 * channels). A subject brings its inputs to the layout it likes before the clock starts, and its result back after it stopped.
 *
 * @module
 */

import { elements, randomNumbers } from "./numbers.ts";

/** The passes of a convolution. */
export type ConvolutionPass = "forward" | "input gradient" | "weight gradient";

/** The work of a case. */
export type Operation =
  | { kind: "matmul"; rows: number; inner: number; columns: number }
  | {
    /** 3×3, stride 1, padded to keep the size. */
    kind: "conv2d";
    pass: ConvolutionPass;
    batch: number;
    size: number;
    inputs: number;
    outputs: number;
  }
  | {
    kind: "attention";
    pass: "forward" | "both passes";
    heads: number;
    tokens: number;
    width: number;
  }
  | { kind: "group norm + swish"; batch: number; size: number; channels: number; groups: number }
  | { kind: "RMSNorm" | "softmax"; rows: number; columns: number }
  | { kind: "add" | "sum"; length: number }
  | { kind: "model"; model: ModelCase };

/** Whole models, whose inputs the subjects know by name. */
export type ModelCase = "tokenizer step" | "encode 256" | "decode 256" | "sample GPT-B";

/** A line of the table. */
export interface Case {
  /** The work and its sizes. */
  readonly name: string;
  /** What runs. */
  readonly operation: Operation;
  /** What it does at least: floating-point operations, bytes read or written, or things made. */
  readonly work: Work;
  /** Who can stand beside the engine. */
  readonly against: "peers" | "PyTorch" | "both";
}

/** What a case does at least. */
export type Work =
  | { readonly operations: number }
  | { readonly bytes: number }
  | { readonly things: number; readonly unit: string };

/** An input of an operation. */
export interface Input {
  /** Extents. */
  readonly shape: readonly number[];
  /** Seed of its numbers. */
  readonly seed: number;
}

/** Constants that all subjects of a norm use. */
export const EPSILON = { groupNorm: 1e-6, rmsNorm: 1e-5 } as const;

/**
 * Lists the inputs of an operation.
 *
 * @param operation The operation; not a model.
 * @returns Inputs by name.
 */
export function inputsOf(operation: Exclude<Operation, { kind: "model" }>): Record<string, Input> {
  const shapes = shapesOf(operation);
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => [name, { shape, seed: i + 1 }]),
  );
}

function shapesOf(operation: Exclude<Operation, { kind: "model" }>): Record<string, number[]> {
  switch (operation.kind) {
    case "matmul": {
      const { rows, inner, columns } = operation;
      return { a: [rows, inner], b: [inner, columns] };
    }
    case "conv2d": {
      const { batch, size, inputs, outputs } = operation;
      return {
        x: [batch, size, size, inputs],
        weight: [3, 3, inputs, outputs],
        dy: [batch, size, size, outputs],
      };
    }
    case "attention": {
      const shape = [1, operation.tokens, operation.heads, operation.width];
      return { query: shape, key: shape, value: shape, dy: shape };
    }
    case "group norm + swish": {
      const { batch, size, channels } = operation;
      return { x: [batch, size, size, channels], weight: [channels], bias: [channels] };
    }
    case "RMSNorm":
      return { x: [operation.rows, operation.columns], weight: [operation.columns] };
    case "softmax":
      return { x: [operation.rows, operation.columns] };
    case "add":
      return { a: [operation.length], b: [operation.length] };
    case "sum":
      return { x: [operation.length] };
  }
}

/**
 * Draws an input.
 *
 * @param input What to draw.
 * @returns Its numbers.
 */
export function draw({ shape, seed }: Input): Float32Array<ArrayBuffer> {
  return randomNumbers(elements(shape), seed);
}

const MATMULS = [[1024, 1024, 1024], [2048, 256, 16384]] as const;
/** Batch, size, channels. */
const CONVOLUTIONS = [[1, 64, 128], [8, 32, 64], [1, 256, 128]] as const;
const PASSES: readonly ConvolutionPass[] = ["forward", "input gradient", "weight gradient"];
const HEADS = { heads: 16, tokens: 256, width: 64 };
/** Multiply-adds count two; forward has two products, the way back four. */
const ATTENTION_PRODUCT = 2 * HEADS.heads * HEADS.tokens ** 2 * HEADS.width;
const ROWS = { rows: 4096, columns: 1024 };
const MANY = 2 ** 24;
const NORM = { batch: 1, size: 64, channels: 128, groups: 32 };
/**
 * What is drawn, with which weight of the class, and how many tokens a repetition draws: few, as a step reads all weights whatever
 * its position, and attention to the earlier tokens is next to nothing beside that.
 */
export const SAMPLING = { label: 7, guidance: 2, tokens: 16 } as const;
/** The training step: the same batch every time; the losses of the first steps are compared. */
export const STEP = {
  seed: 1,
  learningRate: 1e-4,
  betas: [0.5, 0.9],
  compared: 2,
  losses: [
    "total_loss",
    "nll_loss",
    "reconstruct_loss",
    "perceptual_loss",
    "codebook_quant_loss",
    "codebook_entropy_loss",
    "g_loss",
    "disc_loss",
    "lecam_loss",
    "logits_real",
    "logits_fake",
  ],
} as const;

/** What subjects in other languages have to know. */
export const CONSTANTS = { step: STEP, sampling: SAMPLING } as const;

/**
 * Names the file with the weights of a model, by the reference's names and in its layouts.
 *
 * @param folder The folder that the subjects share.
 * @param model The model.
 * @returns Path of a safetensors file.
 */
export function modelFile(folder: string, model: ModelCase): string {
  return `${folder}/${model.replaceAll(/[^a-z0-9]+/gi, "_")}.safetensors`;
}

/** All cases, in the order of the table. */
export const CASES: readonly Case[] = [
  ...MATMULS.map(([rows, inner, columns]): Case => ({
    name: `matmul ${rows}x${inner}x${columns}`,
    operation: { kind: "matmul", rows, inner, columns },
    work: { operations: 2 * rows * inner * columns },
    against: "peers",
  })),
  ...CONVOLUTIONS.flatMap(([batch, size, channels]) =>
    PASSES.map((pass): Case => ({
      name: `conv 3x3 [${[batch, size, size, channels]}] -> ${channels} ${pass}`,
      operation: { kind: "conv2d", pass, batch, size, inputs: channels, outputs: channels },
      work: { operations: 2 * batch * size ** 2 * 9 * channels ** 2 },
      against: "peers",
    }))
  ),
  ...(["forward", "both passes"] as const).map((pass): Case => ({
    name: `attention ${HEADS.heads} heads x ${HEADS.tokens} x ${HEADS.width} ${pass}`,
    operation: { kind: "attention", pass, ...HEADS },
    work: { operations: (pass === "forward" ? 2 : 6) * ATTENTION_PRODUCT },
    against: "peers",
  })),
  {
    name: `group norm + swish [1,${NORM.size},${NORM.size},${NORM.channels}]`,
    operation: { kind: "group norm + swish", ...NORM },
    work: { bytes: 8 * NORM.size ** 2 * NORM.channels },
    against: "peers",
  },
  ...(["RMSNorm", "softmax"] as const).map((kind): Case => ({
    name: `${kind} [${ROWS.rows},${ROWS.columns}]`,
    operation: { kind, ...ROWS },
    work: { bytes: 8 * ROWS.rows * ROWS.columns },
    against: "peers",
  })),
  {
    name: "add 16M",
    operation: { kind: "add", length: MANY },
    work: { bytes: 12 * MANY },
    against: "peers",
  },
  {
    name: "sum 16M",
    operation: { kind: "sum", length: MANY },
    work: { bytes: 4 * MANY },
    against: "peers",
  },
  {
    name: "default tokenizer, G+D step",
    operation: { kind: "model", model: "tokenizer step" },
    work: { things: 16, unit: "images" },
    against: "both",
  },
  ...(["encode 256", "decode 256"] as const).map((model): Case => ({
    name: `16384 tokenizer, ${model.replace(" 256", "")} [1,256,256,3]`,
    operation: { kind: "model", model },
    work: { things: 1, unit: "images" },
    against: "PyTorch",
  })),
  {
    name: "GPT-B sampling, batch 1, guidance",
    operation: { kind: "model", model: "sample GPT-B" },
    work: { things: SAMPLING.tokens, unit: "tokens" },
    against: "PyTorch",
  },
];
