/** Numbers from the bytes of tensors. @module */

import type { SafetensorsDtype } from "./safetensors_format.ts";

/** Widens bfloat16, the upper half of a float32, to float32. */
function widenBfloat16(bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const wide = Uint32Array.from(new Uint16Array(bytes.buffer), (half) => half << 16);
  return new Float32Array(wide.buffer);
}

/**
 * Decodes elements.
 *
 * @param bytes Little-endian elements, the whole of their buffer.
 * @param dtype Their type.
 * @returns One number an element, as exact as a number of JavaScript can be; truth values are 0 and 1.
 */
export function toNumbers(
  bytes: Uint8Array<ArrayBuffer>,
  dtype: SafetensorsDtype,
): Exclude<ArrayLike<number>, string> & Iterable<number> {
  const { buffer } = bytes;
  switch (dtype) {
    case "F64":
      return new Float64Array(buffer);
    case "F32":
      return new Float32Array(buffer);
    case "F16":
      return new Float16Array(buffer);
    case "BF16":
      return widenBfloat16(bytes);
    case "I64":
      return Float64Array.from(new BigInt64Array(buffer), Number);
    case "I32":
      return new Int32Array(buffer);
    case "U32":
      return new Uint32Array(buffer);
    case "I16":
      return new Int16Array(buffer);
    case "U16":
      return new Uint16Array(buffer);
    case "I8":
      return new Int8Array(buffer);
    case "U8":
    case "BOOL":
      return bytes;
  }
}

/**
 * Decodes elements as float32: exactly those of F32, F16 and BF16, rounded those of F64 and large integers.
 *
 * @param bytes Little-endian elements, the whole of their buffer; F32 is not copied.
 * @param dtype Their type.
 * @returns One number an element.
 */
export function toFloat32(
  bytes: Uint8Array<ArrayBuffer>,
  dtype: SafetensorsDtype,
): Float32Array<ArrayBuffer> {
  const numbers = toNumbers(bytes, dtype);
  return numbers instanceof Float32Array
    ? numbers as Float32Array<ArrayBuffer>
    : Float32Array.from(numbers);
}
