/** Kernels as data: a WGSL text, and what is read from it (bindings, the `Params` struct, overrides, entry points). @module */

/** One storage binding of a kernel. */
export interface KernelBinding {
  /** `@binding(n)`. */
  binding: number;
  /** Whether the kernel writes it. */
  writable: boolean;
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
  /** Names of the compute entry points. */
  readonly entryPoints: ReadonlySet<string>;
}

/**
 * Reads the layout of a kernel from its WGSL, so that TypeScript repeats none of it.
 *
 * @param name Name of the kernel in labels, errors and profiles.
 * @param sources WGSL texts, joined in order: shared functions first, the kernel's own file last.
 * @returns The kernel.
 * @throws {SyntaxError} If a `Params` field is not a u32, i32 or f32 scalar, or if no entry point is found.
 */
export function defineKernel(name: string, ...sources: string[]): Kernel {
  const source = sources.join("\n");
  const text = source.replace(/\/\/[^\n]*/g, "");
  const bindings = new Map<string, KernelBinding>();
  for (
    const match of text.matchAll(
      /@group\(0\)\s*@binding\((\d+)\)\s*var<storage\s*,\s*(read|read_write)>\s*(\w+)\s*:/g,
    )
  ) {
    bindings.set(match[3]!, { binding: Number(match[1]), writable: match[2] === "read_write" });
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
  const entryPoints = new Set(
    [...text.matchAll(/@compute\s*@workgroup_size\([^)]*\)\s*fn\s+(\w+)/g)].map((match) =>
      match[1]!
    ),
  );
  if (entryPoints.size === 0) {
    throw new SyntaxError(
      `Cannot define kernel ${name}: expected a @compute @workgroup_size(…) fn, found none`,
    );
  }
  return {
    name,
    source,
    bindings,
    fields,
    paramsBinding: uniform ? Number(uniform[1]) : -1,
    overrides,
    entryPoints,
  };
}
