/**
 * Writes safetensors files, tensor after tensor, always the same bytes for the same content.
 *
 * @module
 */
import { writeFileAtomically } from "./atomic.ts";
import {
  compareTensors,
  DTYPE_BYTES,
  elementCount,
  formatHeader,
  type TensorLayout,
} from "./safetensors_format.ts";

/** A tensor to be written. */
export interface TensorSource extends TensorLayout {
  /** Little-endian values, or a function that gets them (from the GPU, say) when it is this tensor's turn. */
  readonly data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
}

/** Options of {@linkcode writeSafetensors} and {@linkcode encodeSafetensors}. */
export interface SafetensorsWriteOptions {
  /** Free text by key. */
  metadata?: Readonly<Record<string, string>>;
}

/** Header, then one chunk a tensor; a tensor's values are asked for only when the one before is written. */
async function* chunks(
  tensors: readonly TensorSource[],
  options: SafetensorsWriteOptions,
): AsyncGenerator<Uint8Array> {
  const sorted = tensors.toSorted(compareTensors);
  yield formatHeader(sorted, new Map(Object.entries(options.metadata ?? {})));
  for (const tensor of sorted) yield await bytesOf(tensor);
}

/**
 * Gets the bytes of a tensor to be written.
 *
 * @param tensor The tensor.
 * @returns Its elements, not copied.
 * @throws {TypeError} If they are not as many as its shape says.
 */
export async function bytesOf({ name, dtype, shape, data }: TensorSource): Promise<Uint8Array> {
  const view = typeof data === "function" ? await data() : data;
  const expectedBytes = elementCount(shape) * DTYPE_BYTES[dtype];
  if (view.byteLength !== expectedBytes) {
    throw new TypeError(
      `Cannot write tensor ${name}: expected ${expectedBytes} bytes for ${dtype} of shape [${shape}], found ${view.byteLength}`,
    );
  }
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/**
 * Writes a file atomically; at most one tensor is in memory at a time.
 *
 * @param path File to create or replace.
 * @param tensors Tensors in any order; in the file they stand by size of element, then by name.
 * @param options `metadata` for the header.
 * @returns Size of the file in bytes.
 * @throws {UserError} If the file cannot be written; the old one, if any, is untouched then.
 * @throws {TypeError} If a tensor's values are not as many as its shape says.
 * @throws {RangeError} If two tensors have the same name.
 */
export function writeSafetensors(
  path: string,
  tensors: readonly TensorSource[],
  options: SafetensorsWriteOptions = {},
): Promise<number> {
  return writeFileAtomically(path, chunks(tensors, options));
}

/**
 * Makes the bytes of a file in memory.
 *
 * @param tensors Tensors in any order.
 * @param options `metadata` for the header.
 * @returns The whole file.
 * @throws {TypeError} If a tensor's values are not as many as its shape says.
 * @throws {RangeError} If two tensors have the same name.
 */
export async function encodeSafetensors(
  tensors: readonly TensorSource[],
  options: SafetensorsWriteOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const parts = await Array.fromAsync(chunks(tensors, options), (chunk) => new Uint8Array(chunk));
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
