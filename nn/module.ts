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

/** Options of a {@linkcode ModuleContext}. */
export interface ModuleContextOptions {
  /**
   * Whether parameters get their first values; without, their elements are undefined until they are written, which spares the work
   * where a file has all of them. Default true.
   */
  initialize?: boolean;
  /** Type of matrices, the weights of linear maps and embeddings; f16 is for inference, as optimizers want f32. Default f32. */
  matrices?: "f32" | "f16";
}

/** What every module needs to make its parameters. */
export class ModuleContext {
  /** The device; undefined where modules are outlines. */
  readonly gpu: Gpu | undefined;
  /** Whether parameters get their first values. */
  readonly initializes: boolean;
  readonly #seed: number;
  readonly #matrices: "f32" | "f16";
  #stream = 0;

  /**
   * Starts with the first stream of random numbers.
   *
   * @param gpu The device; undefined for outlines: modules whose parameters have names, shapes and types, but no elements and no
   * bytes on any device.
   * @param seed Seed of the initial values; the n-th parameter made draws from stream n.
   * @param options Whether values are drawn, and the type of matrices.
   */
  constructor(gpu: Gpu | undefined, seed: number, options: ModuleContextOptions = {}) {
    this.gpu = gpu;
    this.initializes = gpu !== undefined && (options.initialize ?? true);
    this.#seed = seed;
    this.#matrices = options.matrices ?? "f32";
  }

  /**
   * Makes a context for outlines: with it, a model of any size is made in no time and no memory, for its parameters' names, shapes
   * and counts.
   *
   * @param options The type of matrices.
   * @returns The context.
   *
   * @example Counting the parameters of a model
   * ```ts ignore
   * const transformer = new Transformer(ModuleContext.outline(), options);
   * for (const [name, parameter] of transformer.namedParameters()) console.log(name, fileShape(parameter));
   * console.log(countParameters(transformer));
   * ```
   */
  static outline(options: Pick<ModuleContextOptions, "matrices"> = {}): ModuleContext {
    return new ModuleContext(undefined, 0, options);
  }

  /**
   * Makes a parameter, with initial values unless the context has none.
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
    const stream = this.#stream++;
    const dtype = shape.length === 2 ? this.#matrices : "f32";
    const { gpu } = this;
    if (!gpu || !this.initializes) return new Parameter(gpu, shape, { dtype, ...options });
    const parameter = new Parameter(gpu, shape, options);
    const key = { seed: this.#seed, step: 0, stream };
    const { storage } = parameter;
    if (initializer.kind === "constant") fill(gpu, storage, initializer.value);
    else if (initializer.kind === "uniform") {
      fillUniform(gpu, storage, { key, ...initializer });
    } else {
      const { mean = 0, standardDeviation } = initializer;
      fillNormal(gpu, storage, { key, mean, standardDeviation });
    }
    if (parameter.dtype === "f32") parameter.convertTo(dtype);
    return parameter;
  }

  /**
   * Makes a parameter whose values are no weights and follow from the sizes of a model, such as a table of angles; they are there
   * even where no others are.
   *
   * @param shape Extents, in the engine's order of axes.
   * @param values Computes them, where there is a device.
   * @param options Use.
   * @returns The parameter, f32, not trainable.
   */
  table(
    shape: readonly number[],
    values: () => Float32Array,
    options: Pick<ParameterOptions, "filePermutation"> = {},
  ): Parameter {
    const parameter = new Parameter(this.gpu, shape, { ...options, trainable: false });
    if (this.gpu) parameter.write(values());
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

  /** Gives every parameter's buffer back. */
  [Symbol.dispose](): void {
    for (const child of this.#children.values()) child[Symbol.dispose]();
  }
}
