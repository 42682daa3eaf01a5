/**
 * The layout of a safetensors file: a length, a JSON header that says where each tensor lies, the tensors' bytes.
 *
 * @module
 */
import { malformed, show } from "./byte_source.ts";

/** Bytes of one element of each element type that is read and written here. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  U32: 4,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

/** Element type of a tensor in a safetensors file. */
export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** Upper bound of the header, the one the format's own library uses: a hostile length allocates no more than this. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Where the header starts: behind its length, a little-endian unsigned 64-bit number. */
export const HEADER_START_BYTES = 8;

const METADATA_KEY = "__metadata__";

/** A tensor's place in a file. */
export interface TensorEntry {
  /** Name of the tensor, a checkpoint's parameter name. */
  readonly name: string;
  /** Element type in the file. */
  readonly dtype: SafetensorsDtype;
  /** Sizes, outermost axis first; empty for a scalar. */
  readonly shape: readonly number[];
  /** Position of the first byte, counted from the start of the file. */
  readonly startByte: number;
  /** Size in bytes, the product of the shape times the bytes of an element. */
  readonly lengthBytes: number;
}

/** What a header says. */
export interface SafetensorsHeader {
  /** Tensors by name, in the order of their bytes. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** Free text by key. */
  readonly metadata: ReadonlyMap<string, string>;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isDtype(value: unknown): value is SafetensorsDtype {
  return typeof value === "string" && Object.hasOwn(DTYPE_BYTES, value);
}

function isIndex(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/**
 * Number of elements of a shape.
 *
 * @param shape Sizes, outermost axis first.
 * @returns The product; 1 for a scalar.
 */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Reads the header's length and checks it against the file's.
 *
 * @param prefix The first 8 bytes of the file, or fewer if the file is shorter.
 * @param fileBytes Size of the whole file.
 * @param file Name of the file, for messages.
 * @returns Size of the header in bytes.
 * @throws {UserError} If the file is too short or the length cannot be that of a header.
 */
export function parseHeaderLength(prefix: Uint8Array, fileBytes: number, file: string): number {
  if (prefix.byteLength < HEADER_START_BYTES) {
    throw malformed(
      file,
      `expected a safetensors file of at least 8 bytes, found ${prefix.byteLength}`,
    );
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const length = view.getBigUint64(0, true);
  const room = Math.min(MAX_HEADER_BYTES, fileBytes - HEADER_START_BYTES);
  if (length < 2n || length > BigInt(room)) {
    throw malformed(
      file,
      `expected a safetensors header of 2 to ${room} bytes, found a length of ${length}: the file is cut short or not a safetensors file`,
    );
  }
  return Number(length);
}

function parseJson(bytes: Uint8Array, file: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (isRecord(json)) return json;
  } catch {
    // Bytes that are no text, text that is no JSON, and JSON that is no object end in the same message.
  }
  throw malformed(
    file,
    "expected a safetensors header that is a JSON object, found something else",
  );
}

function parseMetadata(value: unknown, file: string): Map<string, string> {
  if (!isRecord(value)) throw malformed(file, `expected metadata of texts, found ${show(value)}`);
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw malformed(file, `metadata ${show(key)}: expected a text, found ${show(text)}`);
    }
    metadata.set(key, text);
  }
  return metadata;
}

function parseEntry(name: string, value: unknown, dataStart: number, file: string): TensorEntry {
  const fail = (problem: string) => malformed(file, `tensor ${show(name)}: ${problem}`);
  if (!isRecord(value)) throw fail(`expected an object, found ${show(value)}`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) {
    throw fail(`expected a dtype of ${Object.keys(DTYPE_BYTES).join(", ")}, found ${show(dtype)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isIndex)) {
    throw fail(`expected a shape of whole numbers, found ${show(shape)}`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2) {
    throw fail(`expected two data offsets, found ${show(offsets)}`);
  }
  const [begin, end]: unknown[] = offsets;
  if (!isIndex(begin) || !isIndex(end) || end < begin) {
    throw fail(`expected increasing data offsets, found ${show(offsets)}`);
  }
  const expectedBytes = elementCount(shape) * DTYPE_BYTES[dtype];
  if (expectedBytes !== end - begin) {
    throw fail(
      `expected ${expectedBytes} bytes for ${dtype} of shape ${show(shape)}, found ${end - begin}`,
    );
  }
  return { name, dtype, shape, startByte: dataStart + begin, lengthBytes: end - begin };
}

/**
 * Parses a header and checks that the tensors fill the rest of the file without a gap or an overlap.
 *
 * @param bytes The header's bytes, without the length in front.
 * @param fileBytes Size of the whole file.
 * @param file Name of the file, for messages.
 * @returns Tensors and metadata.
 * @throws {UserError} If anything is not as the format demands: the message names file, tensor, expected and found.
 */
export function parseHeader(bytes: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  const dataStart = HEADER_START_BYTES + bytes.byteLength;
  const parsed: TensorEntry[] = [];
  let metadata = new Map<string, string>();
  for (const [name, value] of Object.entries(parseJson(bytes, file))) {
    if (name === METADATA_KEY) metadata = parseMetadata(value, file);
    else parsed.push(parseEntry(name, value, dataStart, file));
  }
  parsed.sort((a, b) => a.startByte - b.startByte || a.lengthBytes - b.lengthBytes);
  const entries = new Map<string, TensorEntry>();
  let position = dataStart;
  for (const entry of parsed) {
    if (entry.startByte !== position) {
      throw malformed(
        file,
        `tensor ${
          show(entry.name)
        }: expected to start at byte ${position}, found ${entry.startByte}`,
      );
    }
    position += entry.lengthBytes;
    entries.set(entry.name, entry);
  }
  if (position !== fileBytes) {
    throw malformed(file, `expected a file of ${position} bytes, found ${fileBytes}`);
  }
  return { entries, metadata };
}

/** A tensor's type and shape, as the writer needs them. */
export type TensorLayout = Pick<TensorEntry, "name" | "dtype" | "shape">;

/**
 * Order of tensors in a file: larger elements first, which keeps every tensor aligned, then by name.
 *
 * @param a One tensor.
 * @param b Another tensor.
 * @returns Negative, zero or positive, as `Array.sort` wants it.
 */
export function compareTensors(a: TensorLayout, b: TensorLayout): number {
  return DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (a.name < b.name ? -1 : 1);
}

/**
 * Writes the length and the header of a file.
 *
 * @param tensors Tensors in the order in which their bytes follow.
 * @param metadata Free text by key; written in the order of the keys.
 * @returns The bytes in front of the first tensor, a multiple of 8.
 * @throws {RangeError} If two tensors have the same name or one is called like the metadata.
 */
export function formatHeader(
  tensors: readonly TensorLayout[],
  metadata: ReadonlyMap<string, string>,
): Uint8Array {
  const header = new Map<string, unknown>();
  if (metadata.size > 0) {
    header.set(METADATA_KEY, Object.fromEntries([...metadata].sort(([a], [b]) => a < b ? -1 : 1)));
  }
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    if (header.has(name) || name === METADATA_KEY) {
      throw new RangeError(`Cannot write tensor ${name}: expected a name of its own`);
    }
    const end = begin + elementCount(shape) * DTYPE_BYTES[dtype];
    header.set(name, { dtype, shape, data_offsets: [begin, end] });
    begin = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const paddedBytes = Math.ceil(json.byteLength / 8) * 8;
  const bytes = new Uint8Array(HEADER_START_BYTES + paddedBytes).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(paddedBytes), true);
  bytes.set(json, HEADER_START_BYTES);
  return bytes;
}
