/**
 * Reads tensors from a safetensors file one at a time, by their place in it.
 *
 * @module
 */
import { BufferSource, type ByteSource, FileSource, malformed } from "./byte_source.ts";
import { toFloat32 } from "./elements.ts";
import {
  HEADER_START_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
  type TensorEntry,
} from "./safetensors_format.ts";

/**
 * An open safetensors file. The header is read and checked at once, each tensor when it is asked for.
 *
 * @example Usage
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { encodeSafetensors, SafetensorsReader } from "./safetensors.ts";
 *
 * const bytes = await encodeSafetensors([
 *   { name: "bias", dtype: "F32", shape: [2], data: new Float32Array([1, 2]) },
 * ]);
 * using file = await SafetensorsReader.fromBytes(bytes);
 * assertEquals(await file.float32("bias"), new Float32Array([1, 2]));
 * ```
 */
export class SafetensorsReader implements Disposable {
  /** Path of the file, or the name given to the buffer. */
  readonly name: string;
  /** Tensors by name, in the order of their bytes. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** Free text by key. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly #source: ByteSource;

  private constructor(name: string, source: ByteSource, header: SafetensorsHeader) {
    this.name = name;
    this.entries = header.entries;
    this.metadata = header.metadata;
    this.#source = source;
  }

  /**
   * Reads and checks the header of an open source.
   *
   * @param source The file; closed with the reader, or if it is refused.
   * @returns The reader; dispose of it after use.
   * @throws {UserError} If the source is cut short, or is not a safetensors file.
   */
  static async fromSource(source: ByteSource): Promise<SafetensorsReader> {
    const { name, sizeBytes } = source;
    try {
      const prefix = await source.read(0, Math.min(HEADER_START_BYTES, sizeBytes));
      const headerBytes = parseHeaderLength(prefix, sizeBytes, name);
      const header = await source.read(HEADER_START_BYTES, headerBytes);
      return new SafetensorsReader(name, source, parseHeader(header, sizeBytes, name));
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Opens a file and checks its header.
   *
   * @param path The file.
   * @returns The open file; dispose of it after use.
   * @throws {UserError} If the file cannot be read, is cut short, or is not a safetensors file.
   */
  static async open(path: string): Promise<SafetensorsReader> {
    return await SafetensorsReader.fromSource(await FileSource.open(path));
  }

  /**
   * Reads a file that is in memory already.
   *
   * @param bytes The whole file; not copied.
   * @param name What messages call it.
   * @returns The file.
   * @throws {UserError} If the bytes are not those of a safetensors file.
   */
  static fromBytes(bytes: Uint8Array, name = "safetensors buffer"): Promise<SafetensorsReader> {
    return SafetensorsReader.fromSource(new BufferSource(bytes, name));
  }

  /**
   * Says whether the file has a tensor.
   *
   * @param name Name of the tensor.
   * @returns True if it is there.
   */
  has(name: string): boolean {
    return this.entries.has(name);
  }

  /**
   * Type, shape and place of a tensor.
   *
   * @param name Name of the tensor.
   * @returns Its entry.
   * @throws {UserError} If the file has no such tensor.
   */
  entry(name: string): TensorEntry {
    const entry = this.entries.get(name);
    if (entry === undefined) throw malformed(this.name, `expected a tensor ${name}, found none`);
    return entry;
  }

  /**
   * Bytes of a tensor, or of a part of it, as they are in the file (little-endian).
   *
   * @param name Name of the tensor.
   * @param startByte First byte, counted from the tensor's first.
   * @param lengthBytes Number of bytes; to the tensor's end if not given.
   * @returns A copy.
   * @throws {UserError} If the file has no such tensor or cannot be read.
   * @throws {RangeError} If the part does not lie within the tensor.
   */
  bytes(name: string, startByte = 0, lengthBytes?: number): Promise<Uint8Array<ArrayBuffer>> {
    const entry = this.entry(name);
    const length = lengthBytes ?? entry.lengthBytes - startByte;
    if (startByte < 0 || length < 0 || startByte + length > entry.lengthBytes) {
      throw new RangeError(
        `Cannot read bytes ${startByte} to ${
          startByte + length
        } of tensor ${name}: expected at most ${entry.lengthBytes}`,
      );
    }
    return this.#source.read(entry.startByte + startByte, length);
  }

  /**
   * Values of a tensor of F32, F16 or BF16 as float32, which holds each of them exactly.
   *
   * @param name Name of the tensor.
   * @returns One number an element, innermost axis contiguous.
   * @throws {UserError} If the file has no such tensor, it cannot be read, or its dtype is another.
   */
  async float32(name: string): Promise<Float32Array<ArrayBuffer>> {
    const { dtype } = this.entry(name);
    switch (dtype) {
      case "F32":
      case "F16":
      case "BF16":
        return toFloat32(await this.bytes(name), dtype);
      default:
        throw malformed(this.name, `tensor ${name}: expected F32, F16 or BF16, found ${dtype}`);
    }
  }

  /**
   * Values of a tensor of I32, U32, U16, I64 or U8 as int32.
   *
   * @param name Name of the tensor.
   * @returns One number an element, innermost axis contiguous.
   * @throws {UserError} If the file has no such tensor, its dtype is another, or a value does not fit 32 bits.
   */
  async int32(name: string): Promise<Int32Array<ArrayBuffer>> {
    const { dtype } = this.entry(name);
    switch (dtype) {
      case "I32":
        return new Int32Array((await this.bytes(name)).buffer);
      case "U8":
        return Int32Array.from(await this.bytes(name));
      case "U16":
        return Int32Array.from(new Uint16Array((await this.bytes(name)).buffer));
      case "U32":
        return this.#narrow(name, new Uint32Array((await this.bytes(name)).buffer));
      case "I64":
        return this.#narrow(name, new BigInt64Array((await this.bytes(name)).buffer));
      default:
        throw malformed(
          this.name,
          `tensor ${name}: expected I32, U32, U16, I64 or U8, found ${dtype}`,
        );
    }
  }

  #narrow(name: string, values: Uint32Array | BigInt64Array): Int32Array<ArrayBuffer> {
    const narrow = new Int32Array(values.length);
    for (const [index, value] of values.entries()) {
      narrow[index] = Number(value);
      if (narrow[index] !== Number(value)) {
        throw malformed(this.name, `tensor ${name}: expected values of 32 bits, found ${value}`);
      }
    }
    return narrow;
  }

  /** Closes the file. */
  close(): void {
    this.#source.close();
  }

  /** Closes the file at the end of a `using` scope. */
  [Symbol.dispose](): void {
    this.close();
  }
}
