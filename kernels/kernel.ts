/** Kernels as data: a WGSL text, and what is read from it (bindings, the `Params` struct, overrides, entry points). @module */

import type { Slice } from "./slice.ts";
import storageF16 from "./storage_f16.wgsl" with { type: "text" };
import storageF32 from "./storage_f32.wgsl" with { type: "text" };

/** One storage binding of a kernel. */
export interface KernelBinding {
  /** `@binding(n)`. */
  binding: number;
  /** Whether the kernel writes it. */
  writable: boolean;
  /** Width of the elements: always 32 bits, always 16, or (declared over `Stored`) either, the same in all such bindings. */
  width: "full" | "half" | "either";
  /** Whether it is a texture of f32 vectors. Default: a buffer. */
  texels?: boolean;
  /** Whether it is a uniform buffer, which software adapters load faster from. Default: a storage buffer. */
  uniform?: boolean;
}

/** One scalar field of `struct Params`. */
export interface KernelField {
  /** Offset in the struct, in bytes. */
  offset: number;
  /** Scalar type. */
  type: "u32" | "i32" | "f32";
}

/** A WGSL text with everything that the launcher has to know about it. */
export interface Kernel {
  /** Used in labels, errors and profiles. */
  readonly name: string;
  /** The whole text. */
  readonly source: string;
  /** Storage bindings by variable name. Entry points may reuse a binding number under another name. */
  readonly bindings: ReadonlyMap<string, KernelBinding>;
  /** Fields of `struct Params`, in order; empty if the kernel has none. */
  readonly fields: ReadonlyMap<string, KernelField>;
  /** `@binding(n)` of the uniform `params`. */
  readonly paramsBinding: number;
  /** Names of the `override` constants. */
  readonly overrides: ReadonlySet<string>;
  /** Compute entry points, each with the names of the storage bindings that it and the functions it calls use. */
  readonly entryPoints: ReadonlyMap<string, ReadonlySet<string>>;
  /** Whether the text needs the adapter's feature `shader-f16`. */
  readonly needsHalf: boolean;
  /** The same text with 16-bit floats for `Stored`, if it has such bindings. */
  readonly half: Kernel | undefined;
}

const defined: Kernel[] = [];

/**
 * Lists the kernels of this program, for tests and tools that compile or count them.
 *
 * @returns Every kernel that {@linkcode defineKernel} has made so far, in order.
 */
export function definedKernels(): readonly Kernel[] {
  return defined;
}

/**
 * Reads the layout of a kernel from its WGSL, so that TypeScript repeats none of it.
 *
 * A text whose bindings are declared over `Stored` (one element) or `Stored4` (four neighbors) is compiled twice: for f32 and for f16
 * in memory. It converts where it loads (`f32(x[i])`, `vec4f(x[i])`) and where it stores (`Stored(value)`, `Stored4(value)`) and
 * computes in f32. What is bound decides which of the two runs.
 *
 * @param name Name of the kernel in labels, errors and profiles.
 * @param sources WGSL texts, joined in order: shared functions first, the kernel's own file last.
 * @returns The kernel.
 * @throws {SyntaxError} If a `Params` field is not a u32, i32 or f32 scalar, or if no entry point is found.
 */
export function defineKernel(name: string, ...sources: string[]): Kernel {
  const source = sources.join("\n");
  if (!/\bStored4?\b/.test(source)) return readKernel(name, source, undefined);
  const half = readKernel(name, `${storageF16}\n${source}`, undefined);
  return readKernel(name, `${storageF32}\n${source}`, half);
}

/**
 * Reads a kernel from the very text that {@linkcode defineKernel} or {@linkcode kernelFor} chose, such as another process's.
 *
 * @param name Name of the kernel.
 * @param source The whole text.
 * @returns The kernel, without a twin.
 */
export function kernelOfText(name: string, source: string): Kernel {
  return readKernel(name, source, undefined);
}

/**
 * Chooses the text of a kernel that fits the types of what is bound.
 *
 * @param kernel The kernel.
 * @param entryPoint Named in the error.
 * @param buffers Storage bindings by variable name.
 * @returns The kernel, or its twin for 16-bit floats; a twin itself.
 * @throws {TypeError} If a binding has the wrong width, or bindings over `Stored` differ.
 */
export function kernelFor(
  kernel: Kernel,
  entryPoint: string,
  buffers: Readonly<Record<string, Slice>>,
): Kernel {
  let either: string | undefined;
  for (const name in buffers) {
    const width = kernel.bindings.get(name)?.width;
    if (width === undefined) continue;
    const half = buffers[name]!.half ?? false;
    if (width === "either") either ??= name;
    const expected = width === "either" ? buffers[either!]!.half ?? false : width === "half";
    if (half !== expected) {
      throw new TypeError(
        `Cannot run ${kernel.name}.${entryPoint}: expected ${name} of ${
          expected ? "f16" : "32-bit"
        } elements${width === "either" && name !== either ? ` like ${either}` : ""}, found ${
          half ? "f16" : "32-bit ones"
        }`,
      );
    }
  }
  return either !== undefined && buffers[either]!.half ? kernel.half ?? kernel : kernel;
}

function readKernel(name: string, source: string, half: Kernel | undefined): Kernel {
  const text = source.replace(/\/\/[^\n]*/g, "");
  const bindings = new Map<string, KernelBinding>();
  for (
    const match of text.matchAll(
      /@group\(0\)\s*@binding\((\d+)\)\s*var<storage\s*,\s*(read|read_write)>\s*(\w+)\s*:\s*(?:array<)?\s*([\w<]+)/g,
    )
  ) {
    bindings.set(match[3]!, {
      binding: Number(match[1]),
      writable: match[2] === "read_write",
      width: widthOf(match[4]!),
    });
  }
  for (
    const match of text.matchAll(
      /@group\(0\)\s*@binding\((\d+)\)\s*var\s+(\w+)\s*:\s*Texels\b/g,
    )
  ) {
    bindings.set(match[2]!, {
      binding: Number(match[1]),
      writable: false,
      width: "full",
      texels: true,
    });
  }
  for (
    const match of text.matchAll(
      /@group\(0\)\s*@binding\((\d+)\)\s*var<uniform>\s*(\w+)\s*:\s*array</g,
    )
  ) {
    const binding = Number(match[1]);
    bindings.set(match[2]!, { binding, writable: false, width: "full", uniform: true });
  }
  const uniform = /@group\(0\)\s*@binding\((\d+)\)\s*var<uniform>\s*params\s*:\s*Params\b/.exec(
    text,
  );
  const fields = new Map<string, KernelField>();
  if (uniform) {
    const body = /struct\s+Params\s*\{([^}]*)\}/.exec(text)?.[1] ?? "";
    let offset = 0;
    for (const declaration of body.split(",").map((part) => part.trim()).filter(Boolean)) {
      const match = /^(\w+)\s*:\s*(u32|i32|f32)$/.exec(declaration);
      if (!match) {
        throw new SyntaxError(
          `Cannot read Params of kernel ${name}: expected "name: u32 | i32 | f32", found "${declaration}"`,
        );
      }
      fields.set(match[1]!, { offset, type: match[2] as KernelField["type"] });
      offset += 4;
    }
  }
  const overrides = new Set([...text.matchAll(/\boverride\s+(\w+)/g)].map((match) => match[1]!));
  const functions = functionsOf(text);
  const entryPoints = new Map<string, Set<string>>();
  for (const match of text.matchAll(/@compute\s*@workgroup_size\([^)]*\)\s*fn\s+(\w+)/g)) {
    const reached = reachedFrom(match[1]!, functions);
    entryPoints.set(match[1]!, new Set([...bindings.keys()].filter((used) => reached.has(used))));
  }
  if (entryPoints.size === 0) {
    throw new SyntaxError(
      `Cannot define kernel ${name}: expected a @compute @workgroup_size(…) fn, found none`,
    );
  }
  const kernel: Kernel = {
    name,
    source,
    bindings,
    fields,
    paramsBinding: uniform ? Number(uniform[1]) : -1,
    overrides,
    entryPoints,
    needsHalf: /\benable f16;/.test(text),
    half,
  };
  defined.push(kernel);
  return kernel;
}

/** Width of the elements of a binding of this type. */
function widthOf(type: string): KernelBinding["width"] {
  if (/^Stored/.test(type)) return "either";
  return /^(f16|vec[234]h|vec[234]<f16)$/.test(type) ? "half" : "full";
}

/** Names that each function refers to, without those of its own parameters and variables. */
function functionsOf(text: string): Map<string, Set<string>> {
  const functions = new Map<string, Set<string>>();
  for (const match of text.matchAll(/\bfn\s+(\w+)\s*\(([^{]*)\{/g)) {
    let end = match.index + match[0].length;
    for (let depth = 1; depth > 0 && end < text.length; end++) {
      if (text[end] === "{") depth++;
      else if (text[end] === "}") depth--;
    }
    const body = text.slice(match.index + match[0].length, end);
    const names = new Set(
      // A name after a dot is a component or a field.
      [...body.matchAll(/(?<![.\w])[A-Za-z_]\w*/g)].map(([name]) => name),
    );
    for (const [, own] of match[2]!.matchAll(/(\w+)\s*:/g)) names.delete(own!);
    for (const [, own] of body.matchAll(/\b(?:let|const|var(?:<\w+>)?)\s+(\w+)/g)) {
      names.delete(own!);
    }
    functions.set(match[1]!, names);
  }
  return functions;
}

/** Names that a function and all functions below it refer to. */
function reachedFrom(entryPoint: string, functions: ReadonlyMap<string, Set<string>>): Set<string> {
  const reached = new Set([entryPoint]);
  // A set's iteration also visits what is added on the way.
  for (const name of reached) for (const next of functions.get(name) ?? []) reached.add(next);
  return reached;
}
