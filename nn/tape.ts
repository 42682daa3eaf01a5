/** The tape: owns the buffers of one step, records what ops did, and walks it backward. @module */

import { servesTexels } from "../kernels/gemv.ts";
import { cast } from "../kernels/cast.ts";
import { fill, linearCombination } from "../kernels/elementwise.ts";
import type { Gpu } from "../kernels/gpu.ts";
import type { Slice } from "../kernels/slice.ts";
import { fitsTexelCopy } from "../kernels/texel_pool.ts";
import { Gradients } from "./gradients.ts";
import { Sentinel } from "./sentinel.ts";
import {
  type Backward,
  listOf,
  type Recorded,
  type Replay,
  type Segment,
  spread,
  type TapeNode,
  type Walk,
} from "./tape_node.ts";
import {
  acquireElements,
  type DataType,
  type Operand,
  Parameter,
  sizeOf,
  Tensor,
} from "./tensor.ts";

export type { Backward, TapeNode };

/** A weight is copied into a texture where so many times its bytes are left of the budget. */
const LEAST_SPARE = 8;

/** Options of a {@linkcode Tape}. */
export interface TapeOptions {
  /** Whether ops are recorded for {@linkcode Tape.grad}; without, `scope` frees intermediate values. Default true. */
  record?: boolean;
  /** Seed of the random numbers that ops on this tape draw. Default 0. */
  seed?: number;
  /** Training step, the second key of the random numbers. Default 0. */
  step?: number;
  /** Is shown the result of every op and every gradient. */
  sentinel?: Sentinel | undefined;
}

/** Where the random numbers of one op come from: Philox is keyed by these, so backward can draw the same again. */
export interface RandomKey {
  /** Seed of the run. */
  seed: number;
  /** Training step. */
  step: number;
  /** Number of the op among the random ops of this tape. */
  stream: number;
}

/**
 * Arena and record of one step.
 *
 * Every buffer has one owner: a {@linkcode Parameter}, or a tape until its closing brace. Ops allocate on the tape of their input, so
 * there is no hidden global. Bind it with `using`.
 *
 * @example Usage
 * ```ts ignore
 * using tape = new Tape(gpu);
 * const loss = mean(square(linear(tape.input(data, [8, 4]), layer)));
 * const gradients = tape.grad(loss, layer.parameters());
 * ```
 */
export class Tape implements Disposable {
  /** Seed of the random numbers. */
  readonly seed: number;
  /** Training step, the second key of the random numbers. */
  readonly step: number;
  /** Whether ops are recorded. */
  readonly recording: boolean;
  readonly #sentinel: Sentinel | undefined;
  #nodes: (Recorded | Segment)[] = [];
  readonly #live = new Map<GPUBuffer, Slice>();
  readonly #kept = new Set<Slice>();
  readonly #released = new WeakSet<Slice>();
  readonly #copies = new Map<Operand, Tensor>();
  /** Weights that were read, with their copies in textures. */
  readonly #texels = new Map<Slice, Slice | undefined>();
  #fresh: Slice[] = [];
  #streams = 0;
  #walking = false;
  #repeating = false;
  #closed = false;

  /**
   * Opens an empty tape.
   *
   * @param gpu The device.
   * @param options Recording and random keys.
   */
  constructor(readonly gpu: Gpu, options: TapeOptions = {}) {
    this.recording = options.record ?? true;
    this.seed = options.seed ?? 0;
    this.step = options.step ?? 0;
    this.#sentinel = options.sentinel;
  }

  /**
   * Makes a tensor whose elements are undefined; the op that asks for it writes all of them.
   *
   * @param shape Extents.
   * @param dtype Element type, default f32.
   * @returns A tensor of this tape.
   */
  alloc(shape: readonly number[], dtype: DataType = "f32"): Tensor {
    if (this.#closed) {
      throw new TypeError("Cannot use a tape: expected an open one, found it closed");
    }
    const storage = acquireElements(this.gpu, shape, {
      dtype,
      purpose: `a tensor of shape [${shape}]`,
      use: this.#walking ? "gradients" : "activations",
    });
    this.#live.set(storage.buffer, storage);
    this.#fresh.push(storage);
    return new Tensor(this, [...shape], dtype, storage);
  }

  /**
   * Makes a tensor of zeros.
   *
   * @param shape Extents.
   * @param dtype Element type, default f32.
   * @returns A tensor of this tape.
   */
  zeros(shape: readonly number[], dtype: DataType = "f32"): Tensor {
    const tensor = this.alloc(shape, dtype);
    this.gpu.clear(tensor.storage);
    return tensor;
  }

  /**
   * Uploads host data.
   *
   * @param data Elements, last axis fastest; a Uint32Array makes a u32 tensor, a Float16Array an f16 one.
   * @param shape Extents.
   * @returns A tensor of this tape.
   * @throws {RangeError} If the number of elements differs from the shape's.
   */
  input(data: Float32Array | Float16Array | Uint32Array, shape: readonly number[]): Tensor {
    if (data.length !== sizeOf(shape)) {
      throw new RangeError(
        `Cannot make a tensor of shape [${shape}]: expected ${
          sizeOf(shape)
        } elements, found ${data.length}`,
      );
    }
    const dtype = data instanceof Uint32Array
      ? "u32"
      : data instanceof Float16Array
      ? "f16"
      : "f32";
    const tensor = this.alloc(shape, dtype);
    this.#fresh.pop();
    this.gpu.upload(tensor.storage, data);
    return tensor;
  }

  /**
   * Gives a tensor of this tape another shape over the same elements; not recorded (see `reshape` for the differentiable op).
   *
   * @param x The tensor.
   * @param shape Extents with the same product.
   * @returns A view.
   */
  view(x: Tensor, shape: readonly number[]): Tensor {
    if (sizeOf(shape) !== x.size) {
      throw new TypeError(`Cannot view: expected a shape of ${x.size} elements, found [${shape}]`);
    }
    return new Tensor(this, [...shape], x.dtype, x.storage);
  }

  /**
   * Makes an operand readable through this tape: parameters become tensors without a copy, tensors of this tape stay.
   *
   * @param x A parameter, or a tensor of this tape.
   * @returns A tensor over the same elements; gradients do not flow through it.
   */
  constant(x: Operand): Tensor {
    return new Tensor(this, [...x.shape], x.dtype, x.storage);
  }

  /**
   * Gives a weight as ops read it beside activations of a type: one of 32 bits beside f16 as a copy of 16 bits.
   *
   * A copy is made once on this tape and stays until it closes, so the weight must not change meanwhile. It is not recorded: an op
   * that reads it records the weight itself, whose gradient then arrives in its own type, without being rounded to f16.
   *
   * @param weight The weight.
   * @param dtype Type of the activations.
   * @returns The copy, rounded to the nearest f16, if `dtype` is f16 and the weight f32; else the weight itself.
   */
  narrow(weight: Operand, dtype: DataType): Operand {
    if (dtype !== "f16" || weight.dtype !== "f32") return weight;
    let copy = this.#copies.get(weight);
    if (!copy) {
      copy = this.alloc(weight.shape, dtype);
      this.#fresh.pop();
      this.retain(copy);
      cast(this.gpu, { x: weight.storage, y: copy.storage });
      this.#copies.set(weight, copy);
    }
    return copy;
  }

  /**
   * Runs a part of a model that will run many times on this tape: {@linkcode Tape.repeated} copies weights when they are first read.
   *
   * @param body The part.
   * @returns What `body` returns.
   */
  repeating<Result>(body: () => Result): Result {
    const before = this.#repeating;
    this.#repeating = true;
    try {
      return body();
    } finally {
      this.#repeating = before;
    }
  }

  /**
   * Gives a weight as products of few rows read it where they read texels (see `servesTexels`): from the second time on as a copy in a texture, on a
   * tape that does not record, as long as the copies leave most of the memory.
   *
   * The copy stays until the tape closes, so the weight must not change meanwhile.
   *
   * @param weight The weight, f32 or f16.
   * @param inputs Elements of its rows.
   * @returns The same elements, of the same type.
   */
  repeated(weight: Slice, inputs: number): Slice {
    if (this.recording || !servesTexels(this.gpu, { weight, inputs })) return weight;
    const copy = this.#texels.get(weight);
    if (copy) return copy;
    const source = { ...weight, half: false };
    const again = (this.#repeating || this.#texels.has(weight)) && fitsTexelCopy(source) &&
      this.gpu.spareBytes >= LEAST_SPARE * weight.bytes;
    const texels = again
      ? { ...this.gpu.copyToTexels(source), half: weight.half ?? false }
      : undefined;
    this.#texels.set(weight, texels);
    return texels ?? weight;
  }

  /**
   * Records an op with one output.
   *
   * @param op Its name.
   * @param output What it made.
   * @param inputs What it read.
   * @param backward Gradients of the inputs from the gradient of the output.
   * @returns `output`.
   */
  record(
    op: string,
    output: Tensor,
    inputs: readonly Operand[],
    backward: (gradient: Tensor, needs: readonly boolean[]) => readonly (Tensor | undefined)[],
  ): Tensor {
    this.recordNode({
      op,
      inputs,
      outputs: [output],
      backward: ([gradient], needs) => backward(gradient!, needs),
    });
    return output;
  }

  /**
   * Records an op with any number of outputs.
   *
   * @param node The op.
   * @throws {TypeError} If an input belongs to another tape.
   */
  recordNode(node: TapeNode): void {
    for (const operand of [...node.inputs, ...node.outputs]) {
      if (operand instanceof Tensor && operand.tape !== this) {
        throw new TypeError(
          `Cannot record ${node.op}: expected operands of one tape, found one of another`,
        );
      }
    }
    for (const output of node.outputs) this.#sentinel?.watch(node.op, output);
    const owned = this.#fresh;
    this.#fresh = [];
    if (this.recording && !this.#walking) this.#nodes.push({ ...node, owned });
  }

  /**
   * Gives scratch of an op back before the tape closes. Recorded kernels still see what it held.
   *
   * @param tensors Tensors that nothing reads any more, not even a backward.
   */
  release(...tensors: Tensor[]): void {
    for (const tensor of tensors) {
      if (!this.#free(tensor.storage)) {
        throw new TypeError(
          "Cannot release a tensor: expected one that this tape owns, found a parameter's",
        );
      }
    }
  }

  /**
   * Runs a part of a model. On a tape that does not record, everything allocated inside is given back but the result.
   *
   * @param body The part.
   * @returns What `body` returns.
   */
  scope<Result extends Tensor | readonly Tensor[]>(body: () => Result): Result {
    if (this.recording) return body();
    const before = new Set(this.#live.values());
    const result = body();
    const kept = new Set(listOf(result).map((tensor) => tensor.storage));
    for (const storage of [...this.#live.values()]) {
      if (!before.has(storage) && !kept.has(storage) && !this.#kept.has(storage)) {
        this.#free(storage);
      }
    }
    return result;
  }

  /**
   * Runs a part of a model whose values do not wait for the backward pass: all but the result is given back, and a walk that
   * arrives runs the part again. Random numbers are drawn again from their counters, and gradients are added up in the order in
   * which they are without this, so that they are the same bit for bit. On a tape that does not record it is a {@linkcode Tape.scope}.
   *
   * @param body The part. It gives the same each time that it runs: it changes no parameter and reads nothing that somebody else
   * changes or gives back before the walk.
   * @returns What `body` returns.
   * @see Chen et al. 2016, arXiv:1604.06174.
   */
  checkpoint<Result extends Tensor | readonly Tensor[]>(body: () => Result): Result {
    if (!this.recording) return this.scope(body);
    const stream = this.#streams;
    const outer = this.#nodes;
    const before = new Set(this.#live.values());
    const owned = this.#fresh;
    this.#fresh = [];
    this.#nodes = [];
    let result: Result;
    let nodes: (Recorded | Segment)[];
    try {
      result = body();
    } finally {
      nodes = this.#nodes;
      this.#nodes = outer;
    }
    const outputs = listOf(result);
    const made = new Set<Operand>(nodes.flatMap((node) => [...node.outputs]));
    const inputs = new Set(nodes.flatMap((node) => [...node.inputs]));
    const results = new Set(outputs.map(({ storage }) => storage));
    for (const storage of [...this.#live.values()]) {
      if (before.has(storage) || this.#kept.has(storage)) continue;
      if (results.has(storage)) owned.push(storage);
      else this.#free(storage);
    }
    this.#fresh = [];
    this.#nodes.push({
      inputs: [...inputs].filter((input) => !made.has(input)),
      outputs,
      owned,
      body,
      stream,
    });
    return result;
  }

  /**
   * Protects tensors from being freed by a last walk or a scope, so that they can be read afterwards.
   *
   * @param tensors Tensors of this tape.
   */
  retain(...tensors: Tensor[]): void {
    for (const tensor of tensors) this.#kept.add(tensor.storage);
  }

  /**
   * Copies a tensor of any tape onto this one; gradients do not flow through it.
   *
   * @param x The tensor.
   * @returns A tensor of this tape with the same elements.
   */
  copy(x: Operand): Tensor {
    const y = this.alloc(x.shape, x.dtype);
    this.gpu.copy(x.storage, y.storage);
    return y;
  }

  /**
   * Copies a tensor into a parameter that outlives the tape.
   *
   * @param x The tensor.
   * @returns A parameter that no optimizer updates; dispose it.
   */
  keep(x: Tensor): Parameter {
    const kept = new Parameter(this.gpu, x.shape, { dtype: x.dtype, trainable: false });
    this.gpu.copy(x.storage, kept.storage);
    return kept;
  }

  /**
   * Counts the random ops of this tape.
   *
   * @returns The key of the next one.
   */
  nextRandomKey(): RandomKey {
    return { seed: this.seed, step: this.step, stream: this.#streams++ };
  }

  /**
   * Walks the tape backward from a scalar (or, with `gradient`, from any tensor).
   *
   * @param loss What is differentiated.
   * @param wrt Parameters or tensors whose gradients are wanted; only what leads there is computed.
   * @param options `gradient`: upstream gradient of `loss`, as a tensor or, for a scalar, a number, default 1; `last`: free the values of ops behind the walk, so that the
   * tape can not be walked again; `inspect`: called with every gradient and the op whose backward made it; what the call records
   * sees the gradient, which may be freed behind it.
   * @returns Gradients by operand; an operand that `loss` does not depend on has no entry. They belong to the tape.
   * @throws {TypeError} If `loss` is not a scalar and no gradient is given.
   */
  grad(
    loss: Tensor,
    wrt: Iterable<Operand>,
    options: {
      gradient?: Tensor | number;
      last?: boolean;
      inspect?: (op: string, gradient: Tensor) => void;
    } = {},
  ): Map<Operand, Tensor> {
    if (!this.recording) {
      throw new TypeError(
        "Cannot differentiate: expected a tape that records, found record: false",
      );
    }
    const wanted = new Set(wrt);
    const needed = new Set<Operand>(wanted);
    spread(this.#nodes, needed);
    const gradients = new Gradients({
      add: (a, b) => this.#sum(a, b),
      free: (storage) => this.#kept.has(storage) || this.#free(storage),
    });
    this.#walking = true;
    try {
      if (needed.has(loss)) {
        const { gradient = 1 } = options;
        if (typeof gradient === "number") {
          gradients.seed(loss, this.#upstream(loss, gradient), { foreign: false });
        } else gradients.seed(loss, gradient, { foreign: true });
      }
      const walk = { gradients, needed, wanted, inspect: options.inspect };
      this.#walk(this.#nodes, walk, { last: options.last ?? false });
    } finally {
      this.#walking = false;
      this.#fresh = [];
    }
    return gradients.collect(wanted);
  }

  /**
   * Finds the first op that made a value which is not finite: in the order of the forward pass, then in that of the backward pass.
   * Every result is looked at on the GPU and freed as in any walk; only a flag each is read, all at once.
   *
   * @param loss What was to be differentiated.
   * @param wrt Operands whose gradients were wanted.
   * @returns Name of the op, with " backward" behind it for a gradient, or undefined if everything is finite.
   */
  async firstNonFinite(loss: Tensor, wrt: Iterable<Operand>): Promise<string | undefined> {
    using sentinel = new Sentinel(this.gpu);
    this.#watch(sentinel, this.#nodes);
    this.grad(loss, wrt, {
      inspect: (op, gradient) => sentinel.watch(`${op} backward`, gradient),
    });
    return await sentinel.first();
  }

  /**
   * Checks that a tensor may still be used.
   *
   * @param storage Elements of a tensor of this tape.
   * @throws {TypeError} If the tape is closed or the tensor was released.
   */
  assertLive(storage: Slice): void {
    if (this.#closed) {
      throw new TypeError("Cannot use a tensor: expected an open tape, found it closed");
    }
    if (this.#released.has(storage)) {
      throw new TypeError("Cannot use a tensor: expected a live one, found it released");
    }
  }

  /** Gives every buffer back. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const storage of this.#live.values()) this.gpu.release(storage);
    this.#live.clear();
    this.#copies.clear();
    for (const texels of this.#texels.values()) if (texels) this.gpu.release(texels);
    this.#texels.clear();
    this.#nodes.length = 0;
  }

  /** Walks nodes from the last to the first. */
  #walk(nodes: (Recorded | Segment)[], walk: Walk, { last }: { last: boolean }): void {
    const { gradients, needed, wanted } = walk;
    for (let at = nodes.length - 1; at >= 0; at--) {
      const node = nodes[at]!;
      const incoming = node.outputs.map((output) => gradients.get(output));
      if (incoming.some((gradient) => gradient !== undefined)) {
        if ("body" in node) {
          if (node.inputs.some((input) => needed.has(input))) {
            const replay = this.#replay(node);
            spread(replay.nodes, needed);
            // From here on the results of the replay stand for those of the forward pass.
            gradients.add({ op: "checkpoint", inputs: replay.outputs }, incoming);
            gradients.consume(node.outputs, wanted);
            this.#walk(replay.nodes, walk, { last: true });
          } else gradients.consume(node.outputs, wanted);
        } else {
          const needs = node.inputs.map((input) => needed.has(input));
          this.#fresh = [];
          const made = needs.includes(true) ? node.backward(incoming, needs, last) : [];
          const fresh = this.#fresh;
          this.#fresh = [];
          for (const gradient of made) {
            if (!gradient) continue;
            this.#sentinel?.watch(`${node.op} backward`, gradient);
            walk.inspect?.(node.op, gradient);
          }
          gradients.add(node, made.map((gradient, i) => needs[i] ? gradient : undefined));
          gradients.consume(node.outputs, wanted);
          for (const storage of fresh) {
            if (!gradients.holds(storage) && !this.#kept.has(storage)) this.#free(storage);
          }
        }
      }
      if (last) {
        for (const storage of node.owned) if (!this.#kept.has(storage)) this.#free(storage);
      }
    }
    if (last) nodes.length = 0;
  }

  /** Runs a segment as in the forward pass, and records it. */
  #replay({ body, stream }: Segment): Replay {
    const outer = { nodes: this.#nodes, streams: this.#streams, walking: this.#walking };
    this.#nodes = [];
    this.#streams = stream;
    this.#walking = false;
    this.#fresh = [];
    try {
      const outputs = listOf(body());
      this.#nodes.at(-1)?.owned.push(...this.#fresh);
      return { nodes: this.#nodes, outputs };
    } finally {
      this.#nodes = outer.nodes;
      this.#streams = outer.streams;
      this.#walking = outer.walking;
      this.#fresh = [];
    }
  }

  /** Looks at every result in order; segments run again for that. */
  #watch(sentinel: Sentinel, nodes: readonly (Recorded | Segment)[]): void {
    for (const node of nodes) {
      if ("body" in node) {
        const replay = this.#replay(node);
        this.#watch(sentinel, replay.nodes);
        for (const storage of replay.nodes.flatMap(({ owned }) => owned)) {
          if (!this.#kept.has(storage)) this.#free(storage);
        }
      } else for (const output of node.outputs) sentinel.watch(node.op, output);
    }
  }

  /** Gives a buffer back if the tape still owns it; slices are compared by identity, as the pool hands buffers out again. */
  #free(storage: Slice): boolean {
    if (this.#live.get(storage.buffer) !== storage) return false;
    this.#live.delete(storage.buffer);
    this.#released.add(storage);
    this.gpu.release(storage);
    return true;
  }

  #sum(a: Tensor, b: Tensor): Tensor {
    const sum = this.alloc(a.shape, a.dtype);
    linearCombination(this.gpu, { a: a.storage, b: b.storage, y: sum.storage });
    return sum;
  }

  #upstream(loss: Tensor, value: number): Tensor {
    if (loss.size !== 1) {
      throw new TypeError(
        `Cannot differentiate: expected a scalar or an upstream gradient, found shape [${loss.shape}]`,
      );
    }
    const upstream = this.alloc(loss.shape, loss.dtype);
    fill(this.gpu, upstream.storage, value);
    return upstream;
  }
}
