/**
 * Safetensors files: read lazily and checked strictly, written atomically and deterministically.
 *
 * @module
 */
export { DTYPE_BYTES } from "./safetensors_format.ts";
export type { SafetensorsDtype, TensorEntry, TensorLayout } from "./safetensors_format.ts";
export { SafetensorsReader } from "./safetensors_reader.ts";
export { encodeSafetensors, writeSafetensors } from "./safetensors_writer.ts";
export type { SafetensorsWriteOptions, TensorSource } from "./safetensors_writer.ts";
