/** The gradients of one walk of a tape. @module */

import type { Slice } from "../kernels/slice.ts";
import { type Operand, sizeOf, type Tensor } from "./tensor.ts";

/** What {@linkcode Gradients} asks of the tape. */
export interface GradientHooks {
  /** Sums two gradients into a new tensor. */
  readonly add: (a: Tensor, b: Tensor) => Tensor;
  /** Gives a buffer back that no gradient refers to any more. */
  readonly free: (storage: Slice) => void;
}

/** The gradients of one walk, with a count of who refers to each buffer, since a backward may hand the incoming one on. */
export class Gradients {
  readonly #hooks: GradientHooks;
  readonly #byOperand = new Map<Operand, Tensor>();
  readonly #references = new Map<Slice, number>();
  readonly #foreign = new Set<Slice>();

  /**
   * Starts without gradients.
   *
   * @param hooks How to sum and to free.
   */
  constructor(hooks: GradientHooks) {
    this.#hooks = hooks;
  }

  /**
   * Sets the upstream gradient.
   *
   * @param loss What is differentiated.
   * @param gradient Its gradient.
   * @param options `foreign`: whether the gradient belongs to the caller and is never freed.
   */
  seed(loss: Tensor, gradient: Tensor, { foreign }: { foreign: boolean }): void {
    if (foreign) this.#foreign.add(gradient.storage);
    this.#set(loss, gradient);
  }

  /**
   * Looks a gradient up.
   *
   * @param operand What it belongs to.
   * @returns The sum of what arrived so far, if anything did.
   */
  get(operand: Operand): Tensor | undefined {
    return this.#byOperand.get(operand);
  }

  /**
   * Says whether a gradient refers to a buffer.
   *
   * @param storage The buffer.
   * @returns Whether it has to stay.
   */
  holds(storage: Slice): boolean {
    return this.#references.has(storage);
  }

  /**
   * Adds what the backward of an op made to the gradients of its inputs.
   *
   * @param node The op.
   * @param made One entry an input; undefined where nothing is wanted or nothing arrives.
   * @throws {TypeError} If a gradient has another size than its input.
   */
  add(
    node: { readonly op: string; readonly inputs: readonly Operand[] },
    made: readonly (Tensor | undefined)[],
  ): void {
    for (const [i, input] of node.inputs.entries()) {
      const gradient = made[i];
      if (!gradient) continue;
      if (gradient.size !== sizeOf(input.shape)) {
        throw new TypeError(
          `Cannot differentiate ${node.op}: expected a gradient of shape [${input.shape}], found [${gradient.shape}]`,
        );
      }
      const before = this.#byOperand.get(input);
      if (!before) {
        this.#set(input, gradient);
        continue;
      }
      const sum = this.#hooks.add(before, gradient);
      this.#drop(before);
      this.#set(input, sum);
    }
  }

  /**
   * Forgets the gradients of an op's outputs once its backward has used them.
   *
   * @param outputs The outputs.
   * @param wanted Operands whose gradients the caller asked for: they stay.
   */
  consume(outputs: readonly Tensor[], wanted: ReadonlySet<Operand>): void {
    for (const output of outputs) {
      const gradient = this.#byOperand.get(output);
      if (!gradient || wanted.has(output)) continue;
      this.#byOperand.delete(output);
      this.#drop(gradient);
    }
  }

  /**
   * Ends the walk.
   *
   * @param wanted Operands whose gradients the caller asked for; others are freed.
   * @returns Gradients by operand.
   */
  collect(wanted: ReadonlySet<Operand>): Map<Operand, Tensor> {
    const result = new Map<Operand, Tensor>();
    for (const [operand, gradient] of this.#byOperand) {
      if (wanted.has(operand)) result.set(operand, gradient);
      else this.#drop(gradient);
    }
    return result;
  }

  #set(operand: Operand, gradient: Tensor): void {
    const { storage } = gradient;
    this.#byOperand.set(operand, gradient);
    this.#references.set(storage, (this.#references.get(storage) ?? 0) + 1);
  }

  #drop(gradient: Tensor): void {
    const { storage } = gradient;
    const left = this.#references.get(storage)! - 1;
    if (left > 0) {
      this.#references.set(storage, left);
      return;
    }
    this.#references.delete(storage);
    if (!this.#foreign.has(storage)) this.#hooks.free(storage);
  }
}
