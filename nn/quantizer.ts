/** Index backpropagation quantization: tokens to codes, with a gradient to every code. @module */

import { gatherRows } from "../kernels/embedding.ts";
import { fill, linearCombination } from "../kernels/elementwise.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { quantizerGradients } from "../kernels/quantizer_backward.ts";
import { averageEntropyTerms, quantizeTokens } from "../kernels/quantizer_forward.ts";
import {
  LOGIT_BYTES,
  logitBytes,
  logitPlan,
  type QuantizerSize,
} from "../kernels/quantizer_plan.ts";
import {
  addChosenGradients,
  addResidual,
  prepareEntropyGradients,
} from "../kernels/quantizer_terms.ts";
import { reduce } from "../kernels/reduce.ts";
import type { Slice } from "../kernels/slice.ts";
import { embedding } from "./embedding.ts";
import { dims, type Operand, type Tensor } from "./tensor.ts";

/** Options of {@linkcode quantize}. */
export interface QuantizeOptions {
  /** Weight of the loss that moves chosen codes to their tokens. Default 0.25. */
  beta?: number;
  /** Whether the entropies are computed. Default false. */
  useEntropyLoss?: boolean;
  /** Temperature T of the entropies' softmax. Default 0.01. */
  entropyTemperature?: number;
  /** Weight of the sample entropy in the entropy loss. Default 1. */
  sampleMinimizationWeight?: number;
  /** Weight of the average entropy, which is subtracted. Default 1. */
  batchMaximizationWeight?: number;
  /**
   * Bytes of logits (tokens × codes) that are computed at a time, at most; twice as many are kept for the backward. Default 320 MiB.
   * What is not kept is computed again; but for rounding, results do not depend on it.
   */
  logitBytes?: number;
}

/** Entropies of softmax(logits / T), in nats; each of the three losses carries a gradient. */
export interface QuantizerEntropies {
  /** Mean over the tokens of the entropy of a token's probabilities, shape []. */
  sampleEntropy: Tensor;
  /** Entropy of the average probabilities, shape []. */
  averageEntropy: Tensor;
  /** Weighted sample entropy minus weighted average entropy, shape []. */
  entropyLoss: Tensor;
  /** Mean over the tokens of the probabilities, shape (codes); without gradient. */
  averageProbabilities: Tensor;
}

/** Result of {@linkcode quantize}; the entropies are undefined without `useEntropyLoss`. */
export interface Quantized extends Partial<QuantizerEntropies> {
  /** The chosen codes, shape (tokens, dimensions). */
  zq: Tensor;
  /** Number of the chosen code of each token, u32, shape (tokens). */
  indices: Tensor;
  /** `mean((zq - z)²) + mean((sg(zq) - z)²) + beta mean((zq - sg(z))²)`, shape []. */
  quantLoss: Tensor;
}

/**
 * Replaces each token by the code with the largest inner product, the first of equal ones.
 *
 * The gradient of `zq` and of the first mean of `quantLoss` goes straight through a softmax over the inner products, hence to every code
 * and to `z`; that of the entropies through a softmax at temperature T. Memory is of the size of `z` and `codebook` but for
 * `logitBytes`: twice that is kept from forward to backward, and twice that is scratch, at most.
 *
 * @param z Tokens, shape (tokens, dimensions).
 * @param codebook Codes, shape (codes, dimensions).
 * @param options Weights and temperature.
 * @returns Chosen codes, indices and losses.
 * @throws {TypeError} If the shapes do not fit.
 * @throws {RangeError} If the temperature or the number of bytes is not positive.
 * @see arXiv:2412.02692; SEED-Voken src/IBQ/modules/vqvae/quantize.py, `IndexPropagationQuantize`, `compute_entropy_loss`.
 */
export function quantize(z: Tensor, codebook: Operand, options: QuantizeOptions = {}): Quantized {
  const size = quantizerSize(z, codebook, "quantize()");
  const { beta = 0.25, useEntropyLoss = false, entropyTemperature = 0.01 } = options;
  if (!(entropyTemperature > 0)) {
    throw new RangeError(
      `Cannot quantize: expected a positive entropy temperature, found ${entropyTemperature}`,
    );
  }
  const { logitBytes: byteBudget = LOGIT_BYTES } = options;
  if (!(byteBudget > 0)) {
    throw new RangeError(
      `Cannot quantize: expected a positive number of bytes of logits, found ${byteBudget}`,
    );
  }
  const { tape } = z;
  const { gpu } = tape;
  const { rows, codes } = size;
  const plan = logitPlan(gpu, size, byteBudget);
  const kept = plan.blocks.slice(0, tape.recording ? plan.kept : 0).map(({ count }) =>
    tape.alloc([logitBytes(plan, count) / 4])
  );
  const indices = tape.alloc([rows], "u32");
  const rowStatistics = tape.alloc([rows, 4]);
  const rowEntropies = tape.alloc([rows]);
  const bases = tape.alloc([rows, plan.bands.length]);
  const operands = {
    ...size,
    z: z.storage,
    codebook: codebook.storage,
    entropyTemperature: useEntropyLoss ? entropyTemperature : undefined,
    plan,
    kept: kept.map(({ storage }) => storage),
    rowStatistics: rowStatistics.storage,
    bases: bases.storage,
  };
  const average = useEntropyLoss ? tape.alloc([codes]) : undefined;
  quantizeTokens(gpu, {
    ...operands,
    indices: indices.storage,
    rowEntropies: rowEntropies.storage,
    average: average?.storage,
  });
  const zq = tape.alloc(z.shape);
  gatherRows(gpu, { rows: codes, columns: size.dimensions, uses: rows }, {
    table: codebook.storage,
    indices: indices.storage,
    y: zq.storage,
  });
  const difference = tape.alloc(z.shape);
  linearCombination(gpu, { a: zq.storage, b: z.storage, y: difference.storage, beta: -1 });
  const quantLoss = meanSquares(difference, 2 + beta);
  const entropies = average && entropiesOf(average, rowEntropies, options);
  tape.release(rowEntropies);
  const outputs = [zq, quantLoss];
  if (entropies) {
    outputs.push(entropies.entropyLoss, entropies.sampleEntropy, entropies.averageEntropy);
  }
  tape.recordNode({
    op: "quantize",
    inputs: [z, codebook],
    outputs,
    backward: (gradients, needs, last) => {
      const [dzq, dquantLoss, ...dEntropies] = gradients;
      const scratch: Tensor[] = [];
      const alloc = (shape: readonly number[]): Tensor => {
        const tensor = tape.alloc(shape);
        scratch.push(tensor);
        return tensor;
      };
      const zero = alloc([]);
      fill(gpu, zero.storage, 0);
      const residual = (y: Tensor, alpha: number, means: number): Tensor => {
        addResidual(gpu, {
          dzq: (dzq ?? difference).storage,
          difference: difference.storage,
          dquantLoss: (dquantLoss ?? zero).storage,
          y: y.storage,
          alpha: dzq ? alpha : 0,
          gamma: 2 * means / z.size,
        });
        return y;
      };
      const straightThrough = dzq !== undefined || dquantLoss !== undefined;
      const dz = needs[0] ? residual(tape.alloc(z.shape), 0, -2) : undefined;
      const dcodebook = needs[1] ? tape.alloc(codebook.shape) : undefined;
      let entropy: { coefficients: Slice; codeWeights: Slice } | undefined;
      if (entropies && dEntropies.some((gradient) => gradient !== undefined)) {
        const coefficients = alloc([2]).storage;
        const codeWeights = alloc([4 * Math.ceil(codes / 4)]).storage;
        const [dEntropyLoss, dSampleEntropy, dAverageEntropy] = dEntropies;
        prepareEntropyGradients(gpu, {
          dEntropyLoss: (dEntropyLoss ?? zero).storage,
          dSampleEntropy: (dSampleEntropy ?? zero).storage,
          dAverageEntropy: (dAverageEntropy ?? zero).storage,
          average: entropies.averageProbabilities.storage,
          coefficients,
          codeWeights,
          rows,
          entropyTemperature,
          sampleWeight: options.sampleMinimizationWeight ?? 1,
          averageWeight: options.batchMaximizationWeight ?? 1,
        });
        entropy = { coefficients, codeWeights };
      }
      quantizerGradients(gpu, {
        ...operands,
        dzq: straightThrough ? residual(alloc(z.shape), 1, 1).storage : undefined,
        entropy,
        dz: dz?.storage,
        dcodebook: dcodebook?.storage,
        onBlock: (block) => last && kept[block] && tape.release(kept[block]),
      });
      if (dcodebook && straightThrough) {
        addChosenGradients(gpu, {
          ...size,
          indices: indices.storage,
          gradients: residual(alloc(z.shape), 1, 1 + beta).storage,
          dcodebook: dcodebook.storage,
        });
      }
      tape.release(...scratch);
      return [dz, dcodebook];
    },
  });
  return { zq, indices, quantLoss, ...entropies };
}

/**
 * Looks codes up.
 *
 * @param indices Numbers of codes, u32, any shape.
 * @param codebook Codes, shape (codes, dimensions).
 * @returns Shape (…indices.shape, dimensions).
 * @throws {TypeError} If `indices` does not hold integers or `codebook` is not a matrix.
 */
export function codebookEntries(indices: Tensor, codebook: Operand): Tensor {
  return embedding(indices, codebook);
}

/**
 * Checks the operands of a quantizer.
 *
 * @param z Tokens, shape (tokens, dimensions).
 * @param codebook Codes, shape (codes, dimensions).
 * @param operation Named in errors.
 * @returns Their extents.
 * @throws {TypeError} If the shapes do not fit.
 */
function quantizerSize(z: Tensor, codebook: Operand, operation: string): QuantizerSize {
  const { tokens, dimensions } = dims(z, "tokens dimensions", operation);
  const found = dims(codebook, "codes dimensions", operation);
  if (found.dimensions !== dimensions || found.codes === 0 || tokens === 0) {
    throw new TypeError(
      `Cannot run ${operation}: expected tokens and codes of equal length, at least one of each, found [${z.shape}] and [${codebook.shape}]`,
    );
  }
  return { rows: tokens, codes: found.codes, dimensions };
}

/**
 * Mean of the squares of all elements, without gradient.
 *
 * @param x Any shape.
 * @param factor Multiplies the mean.
 * @returns Shape [].
 */
function meanSquares(x: Tensor, factor: number): Tensor {
  const y = x.tape.alloc([]);
  sum(x.tape.gpu, "sum_squares", { a: x.storage, y: y.storage, factor: factor / x.size });
  return y;
}

function sum(
  gpu: Gpu,
  reduction: "sum" | "sum_squares",
  options: { a: Slice; y: Slice; factor: number },
): void {
  reduce(gpu, reduction, { ...options, outer: 1, length: options.a.bytes / 4, inner: 1 });
}

function entropiesOf(
  average: Tensor,
  rowEntropies: Tensor,
  options: QuantizeOptions,
): QuantizerEntropies {
  const { tape } = average;
  const { gpu } = tape;
  const entropyTerms = tape.alloc(average.shape);
  averageEntropyTerms(gpu, {
    probabilities: average.storage,
    entropyTerms: entropyTerms.storage,
  });
  const sampleEntropy = tape.alloc([]);
  const averageEntropy = tape.alloc([]);
  const entropyLoss = tape.alloc([]);
  sum(gpu, "sum", {
    a: rowEntropies.storage,
    y: sampleEntropy.storage,
    factor: 1 / rowEntropies.size,
  });
  sum(gpu, "sum", { a: entropyTerms.storage, y: averageEntropy.storage, factor: 1 });
  linearCombination(gpu, {
    a: sampleEntropy.storage,
    b: averageEntropy.storage,
    y: entropyLoss.storage,
    alpha: options.sampleMinimizationWeight ?? 1,
    beta: -(options.batchMaximizationWeight ?? 1),
  });
  tape.release(entropyTerms);
  return { sampleEntropy, averageEntropy, entropyLoss, averageProbabilities: average };
}
