/** What a tape keeps of ops and of segments. @module */

import type { Slice } from "../kernels/slice.ts";
import type { Gradients } from "./gradients.ts";
import { type Operand, Tensor } from "./tensor.ts";

/**
 * Computes the gradients of an op's inputs.
 *
 * @param gradients Gradient of each output, undefined where the loss does not depend on it.
 * @param needs Whether the gradient of each input is wanted; others may be left undefined.
 * @param last Whether nobody walks here again, so that what the op kept may be released on the way.
 * @returns One entry an input. New tensors, or a view of an incoming gradient; incoming gradients are never written.
 */
export type Backward = (
  gradients: readonly (Tensor | undefined)[],
  needs: readonly boolean[],
  last: boolean,
) => readonly (Tensor | undefined)[];

/** What an op tells the tape. */
export interface TapeNode {
  /** Name of the op, used in errors. */
  op: string;
  /** What it read; gradients go there. */
  inputs: readonly Operand[];
  /** What it made. */
  outputs: readonly Tensor[];
  /** Its gradient. */
  backward: Backward;
}

/** An op as the tape keeps it. */
export interface Recorded extends TapeNode {
  /** Buffers allocated by this op's forward, so that a last walk can free them behind itself. */
  owned: Slice[];
}

/** A part of a model whose values were given back: it runs again when a walk arrives. */
export interface Segment {
  /** What its ops read and did not make; gradients go there. */
  inputs: readonly Operand[];
  /** What it made. */
  outputs: readonly Tensor[];
  /** Buffers of the outputs. */
  owned: Slice[];
  /** Runs it. */
  body: () => Tensor | readonly Tensor[];
  /** Number of its first random op. */
  stream: number;
}

/** A segment that ran again. */
export interface Replay {
  /** Its nodes. */
  nodes: (Recorded | Segment)[];
  /** What it made this time. */
  outputs: readonly Tensor[];
}

/** What a walk takes along. */
export interface Walk {
  /** Gradients so far. */
  gradients: Gradients;
  /** Operands that gradients have to pass through. */
  needed: Set<Operand>;
  /** Operands whose gradients the caller asked for. */
  wanted: ReadonlySet<Operand>;
  /** Is shown every gradient. */
  inspect: ((op: string, gradient: Tensor) => void) | undefined;
}

/**
 * Takes one result as a list of one.
 *
 * @param result What a part of a model returned.
 * @returns Its tensors.
 */
export function listOf(result: Tensor | readonly Tensor[]): readonly Tensor[] {
  return result instanceof Tensor ? [result] : result;
}

/**
 * Marks what gradients have to pass through on their way.
 *
 * @param nodes Nodes in the order in which they ran.
 * @param needed Operands whose gradients are wanted; what depends on them is added.
 */
export function spread(nodes: readonly (Recorded | Segment)[], needed: Set<Operand>): void {
  for (const node of nodes) {
    if (node.inputs.some((input) => needed.has(input))) {
      for (const output of node.outputs) needed.add(output);
    }
  }
}
