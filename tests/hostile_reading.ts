/** Reads a hostile checkpoint as everything here does, and says what became of it. @module */

import { UserError } from "../train/errors.ts";
import { BufferSource } from "../train/files/byte_source.ts";
import { openTensorSource } from "../train/files/open_tensors.ts";
import { TorchReader } from "../train/files/torch_reader.ts";

/** Tensors by name. */
export type ReadTensors = ReadonlyMap<string, Uint8Array>;

/**
 * Opens a file that is in memory and reads every tensor.
 *
 * @param bytes The file.
 * @param name What messages call it.
 * @returns The tensors, or the refusal's message.
 * @throws What no reader may throw: anything but a UserError.
 */
export async function readHostile(
  bytes: Uint8Array,
  name: string,
): Promise<ReadTensors | string> {
  try {
    using file = await openTensorSource(new BufferSource(bytes, name));
    const tensors = new Map<string, Uint8Array>();
    const moments = file instanceof TorchReader ? file.trainingEntries.keys() : [];
    for (const tensor of [...file.entries.keys(), ...moments]) {
      tensors.set(tensor, await file.bytes(tensor));
    }
    return tensors;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}
