/** Modules: trees of parameters whose paths are the reference's checkpoint names. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { fillNormal, fillUniform } from "../kernels/random.ts";
import { fill } from "../kernels/elementwise.ts";
import { Parameter, type ParameterOptions } from "./tensor.ts";

/** How the elements of a new parameter are drawn. */
export type Initializer =
  | { kind: "constant"; value: number }
  | { kind: "normal"; mean?: number; standardDeviation: number }
  | { kind: "uniform"; low: number; high: number };

/** What every module needs to make its parameters. */
export class ModuleContext {
  #stream = 0;

  /**
   * Starts with the first stream of random numbers.
   *
   * @param gpu The device.
   * @param seed Seed of the initial values; the n-th parameter made draws from stream n.
   */
  constructor(readonly gpu: Gpu, readonly seed: number) {}

  /**
   * Makes a parameter with initial values.
   *
   * @param shape Extents, in the engine's order of axes.
   * @param initializer How its elements are drawn.
   * @param options Type and use.
   * @returns The parameter.
   */
  parameter(
    shape: readonly number[],
    initializer: Initializer,
    options: ParameterOptions = {},
  ): Parameter {
    const parameter = new Parameter(this.gpu, shape, options);
    const key = { seed: this.seed, step: 0, stream: this.#stream++ };
    const { storage } = parameter;
    if (initializer.kind === "constant") fill(this.gpu, storage, initializer.value);
    else if (initializer.kind === "uniform") {
      fillUniform(this.gpu, storage, { key, ...initializer });
    } else {
      const { mean = 0, standardDeviation } = initializer;
      fillNormal(this.gpu, storage, { key, mean, standardDeviation });
    }
    return parameter;
  }
}

/**
 * A node of a model: it registers its parameters and sub-modules under the names that the reference's checkpoints use.
 *
 * @example Usage
 * ```ts ignore
 * class Block extends Module {
 *   readonly norm1 = this.register("norm1", new GroupNorm(context, { channels: 32, groups: 8 }));
 * }
 * ```
 */
export class Module implements Disposable {
  readonly #children = new Map<string, Module | Parameter>();

  /**
   * Registers a child.
   *
   * @param name Path element(s) in the checkpoint, such as `norm1` or `block.0`.
   * @param child The module or parameter.
   * @returns `child`.
   * @throws {TypeError} If the name is taken.
   */
  protected register<Child extends Module | Parameter>(name: string, child: Child): Child {
    if (this.#children.has(name)) {
      throw new TypeError(`Cannot register ${name}: expected a new name, found it taken`);
    }
    this.#children.set(name, child);
    return child;
  }

  /**
   * Walks every parameter below this module, in order of registration.
   *
   * @param prefix Put before each path, such as `encoder.`.
   * @returns Checkpoint path and parameter; running statistics included.
   */
  *namedParameters(prefix = ""): Generator<[string, Parameter]> {
    for (const [name, child] of this.#children) {
      if (child instanceof Parameter) yield [prefix + name, child];
      else yield* child.namedParameters(`${prefix}${name}.`);
    }
  }

  /**
   * Leaves out running statistics.
   *
   * @returns The parameters that an optimizer updates.
   */
  trainableParameters(): Parameter[] {
    return [...this.namedParameters()].map(([, parameter]) => parameter).filter((parameter) =>
      parameter.trainable
    );
  }

  /**
   * Stores every matrix below this module, the weights of linear maps and embeddings, in another type. Vectors (norms, biases) stay as
   * they are, and so do the types of activations. For inference: optimizers want f32.
   *
   * @param dtype Wanted type.
   */
  convertMatrices(dtype: "f32" | "f16"): void {
    for (const [, parameter] of this.namedParameters()) {
      if (parameter.shape.length === 2) parameter.convertTo(dtype);
    }
  }

  /**
   * Moves the weights of linear maps to where products of few rows load them fastest. For decoding: they can not be read back, trained
   * or applied to many rows any more.
   */
  packForDecoding(): void {
    for (const child of this.#children.values()) {
      if (child instanceof Module) child.packForDecoding();
    }
  }

  /** Gives every parameter's buffer back. */
  [Symbol.dispose](): void {
    for (const child of this.#children.values()) child[Symbol.dispose]();
  }
}
