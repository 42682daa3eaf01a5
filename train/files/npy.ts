/**
 * The header of NumPy's `.npy` format: element type, order of axes, shape.
 *
 * @see https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 *
 * @module
 */
import { UserError } from "../errors.ts";

/** NumPy's names of the element types that are read and written here, with the bytes of one element. */
export const NPY_DTYPE_BYTES = {
  "|b1": 1,
  "|u1": 1,
  "|i1": 1,
  "<u2": 2,
  "<i2": 2,
  "<f2": 2,
  "<u4": 4,
  "<i4": 4,
  "<f4": 4,
  "<u8": 8,
  "<i8": 8,
  "<f8": 8,
} as const;

/** An element type as NumPy writes it: byte order, kind, bytes. */
export type NpyDtype = keyof typeof NPY_DTYPE_BYTES;

/** What an array's header says. */
export interface NpyArray {
  /** Element type; little-endian. */
  readonly dtype: NpyDtype;
  /** Sizes, outermost axis first; empty for a scalar. The innermost axis is contiguous. */
  readonly shape: readonly number[];
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY
const ALIGNMENT = 64;

/** Longest header that is read: NumPy itself needs some hundred bytes and trusts none above 10,000. */
const MAX_HEADER_BYTES = 10_000;

/** Most bytes that {@linkcode parseNpyHeader} can ask for. */
export const NPY_PREFIX_BYTES: number = 12 + MAX_HEADER_BYTES;

/**
 * Bytes of an array's elements.
 *
 * @param array Element type and shape.
 * @returns The product of the shape times the bytes of an element.
 */
export function npyDataBytes({ dtype, shape }: NpyArray): number {
  return shape.reduce((product, size) => product * size, NPY_DTYPE_BYTES[dtype]);
}

/**
 * Makes a header, version 1.0, padded as NumPy does so that the elements start at a multiple of 64 bytes.
 *
 * @param array Element type and shape.
 * @returns The bytes before the elements.
 */
export function formatNpyHeader({ dtype, shape }: NpyArray): Uint8Array<ArrayBuffer> {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const bytes = Math.ceil((10 + text.length + 1) / ALIGNMENT) * ALIGNMENT;
  const header = new Uint8Array(bytes).fill(0x20);
  header.set([...MAGIC, 1, 0, (bytes - 10) & 255, (bytes - 10) >> 8]);
  header.set(new TextEncoder().encode(text), 10);
  header[bytes - 1] = 0x0a;
  return header;
}

/**
 * Reads a header.
 *
 * @param prefix The array's first bytes, {@linkcode NPY_PREFIX_BYTES} of them or all.
 * @param name What messages call the array.
 * @returns Element type, shape, and where the elements start.
 * @throws {UserError} If it is no header, of an element type not listed here, or in Fortran's order.
 */
export function parseNpyHeader(
  prefix: Uint8Array,
  name: string,
): NpyArray & { readonly dataStart: number } {
  if (prefix.length < 12 || !MAGIC.every((byte, i) => prefix[i] === byte)) {
    throw malformed(name, "expected an array of NumPy, found other bytes");
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const version = view.getUint8(6);
  const start = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (version < 1 || version > 3) {
    throw malformed(name, `expected version 1 to 3, found ${version}`);
  }
  if (length > MAX_HEADER_BYTES || start + length > prefix.length) {
    throw malformed(
      name,
      `expected a header of at most ${MAX_HEADER_BYTES} bytes, found ${length}`,
    );
  }
  const text = new TextDecoder().decode(prefix.subarray(start, start + length));
  const dtype = /'descr'\s*:\s*'([^']*)'/.exec(text)?.[1];
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(text)?.[1];
  const sizes = /'shape'\s*:\s*\(([\d\s,]*)\)/.exec(text)?.[1];
  if (dtype === undefined || order === undefined || sizes === undefined) {
    throw malformed(name, "expected descr, fortran_order and shape in the header, found others");
  }
  if (!isDtype(dtype)) {
    const known = Object.keys(NPY_DTYPE_BYTES).join(" ");
    throw malformed(
      name,
      `expected one of the element types ${known}, found ${dtype.slice(0, 20)}`,
    );
  }
  const shape = sizes.split(",").map((size) => size.trim()).filter((size) => size !== "").map(
    Number,
  );
  if (order === "True" && shape.length > 1) {
    throw malformed(name, "expected the innermost axis to be contiguous, found Fortran's order");
  }
  if (!Number.isSafeInteger(npyDataBytes({ dtype, shape }))) {
    throw malformed(name, `expected a shape that fits a file, found (${shape.join(", ")})`);
  }
  return { dtype, shape, dataStart: start + length };
}

function isDtype(text: string): text is NpyDtype {
  return Object.hasOwn(NPY_DTYPE_BYTES, text);
}

function malformed(name: string, problem: string): UserError {
  return new UserError(`Cannot read ${name}: ${problem}`);
}
