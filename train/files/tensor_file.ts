/**
 * What readers of weights have in common, whatever the format of the file.
 *
 * @module
 */
import { toFloat32 } from "./elements.ts";
import type { TensorLayout } from "./safetensors_format.ts";

/** An open file of tensors by name; each is read when it is asked for. */
export interface TensorFile extends Disposable {
  /** Path of the file. */
  readonly name: string;
  /** Type and shape of each tensor by its name. */
  readonly entries: ReadonlyMap<string, TensorLayout>;
  /** Free text by key; empty where the format has none. */
  readonly metadata: ReadonlyMap<string, string>;
  /**
   * Bytes of a tensor.
   *
   * @param name Name of the tensor.
   * @returns Its elements, little-endian, last axis fastest; a copy.
   * @throws {UserError} If there is no such tensor, or it is damaged.
   */
  bytes(name: string): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Reads a tensor of any element type as float32.
 *
 * @param file The file.
 * @param name Name of the tensor.
 * @returns One number an element, last axis fastest.
 * @throws {UserError} If there is no such tensor, or it is damaged.
 */
export async function readFloat32(
  file: TensorFile,
  name: string,
): Promise<Float32Array<ArrayBuffer>> {
  const bytes = await file.bytes(name);
  return toFloat32(bytes, file.entries.get(name)!.dtype);
}
