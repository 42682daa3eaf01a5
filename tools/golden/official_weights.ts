/** Weights of the official sizes from the documented formula: hashed from each parameter's name, never stored. @module */

import { fillHashed, type HashedValues } from "../../models/hashed_uniform.ts";
import { fileShape, writeFileTensor } from "../../models/weights.ts";
import type { Module } from "../../nn/module.ts";
import type { Parameter } from "../../nn/tensor.ts";

/** Elements that are made at a time: 16 MiB, so that no more than the model itself is ever in memory. */
const PIECE_ELEMENTS = 2 ** 22;

/** What the formula needs to know beside names and shapes. */
export interface HashedWeights {
  /** Another salt gives other weights. */
  readonly salt: number;
  /** Variance of a layer's output for inputs of variance 1, times 3: 6 for the tokenizer, 1.5 for the transformer. */
  readonly gain: number;
}

/** The affine map of the uniform numbers that makes a parameter, by its name (see `fill` of the vectors' own script). */
function valuesOf(
  name: string,
  parameter: Parameter,
  gain: number,
): Omit<HashedValues, "name" | "salt"> {
  const cut = name.lastIndexOf(".");
  const owner = name.slice(name.lastIndexOf(".", cut - 1) + 1, cut);
  const leaf = name.slice(cut + 1);
  if (name === "quantize.embedding.weight") return { factor: 0.5 };
  if (name.includes("tok_emb") || name.includes("embedding_table")) return { factor: 2 };
  if (owner.includes("norm")) {
    return leaf === "weight" ? { center: 0, factor: 0.5, offset: 0.75 } : { factor: 0.2 };
  }
  if (leaf === "bias") return { factor: 0.1 };
  const fanIn = fileShape(parameter).slice(1).reduce((product, extent) => product * extent, 1);
  return { factor: 2 * Math.sqrt(gain / fanIn) };
}

/**
 * Writes the formula's values into every parameter of a module, one after the other and piece by piece.
 *
 * @param module A tokenizer or a transformer.
 * @param weights Salt and gain.
 */
export function writeHashedWeights(module: Module, weights: HashedWeights): void {
  const { salt, gain } = weights;
  const piece = new Float32Array(PIECE_ELEMENTS);
  for (const [name, parameter] of module.namedParameters()) {
    const values = { name, salt, ...valuesOf(name, parameter, gain) };
    if (parameter.filePermutation) {
      const all = new Float32Array(parameter.size);
      fillHashed(all, values);
      writeFileTensor(parameter, all);
      continue;
    }
    for (let first = 0; first < parameter.size; first += PIECE_ELEMENTS) {
      const part = piece.subarray(0, Math.min(PIECE_ELEMENTS, parameter.size - first));
      fillHashed(part, { ...values, first });
      parameter.writePart(first, part);
    }
  }
}
