/**
 * Safetensors files: read lazily and checked strictly, written atomically and deterministically.
 *
 * @module
 */
export type { SafetensorsDtype, TensorEntry } from "./safetensors_format.ts";
export { SafetensorsReader } from "./safetensors_reader.ts";
export { encodeSafetensors, writeSafetensors } from "./safetensors_writer.ts";
export type { SafetensorsWriteOptions, TensorSource } from "./safetensors_writer.ts";
