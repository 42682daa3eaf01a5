/**
 * Reads PyTorch's checkpoints (`.ckpt`, `.pth`, `.pt`): zip archives and the older files of pickles, tensor after tensor, without
 * executing anything.
 *
 * @module
 */
import { type ByteSource, FileSource, malformed, show } from "./byte_source.ts";
import { PickleCutShort, PickleError, unpickle } from "./pickle.ts";
import { DTYPE_BYTES, type TensorLayout } from "./safetensors_format.ts";
import { readView, type StorageRead } from "./strided.ts";
import type { TensorFile } from "./tensor_file.ts";
import { torchHooks, type TorchStorage, TorchTensor } from "./torch_objects.ts";
import { type TorchTraining, trainingOf } from "./torch_training.ts";
import { ZipArchive } from "./zip.ts";

/** Largest pickle: it holds names and shapes, no weights. */
const MAX_PICKLE_BYTES = 2 ** 26;
/** What an old file is read by at first to find its pickles. */
const FIRST_WINDOW_BYTES = 2 ** 20;
/** A compressed record may be this much larger unpacked, and so many times its own size; weights hardly shrink at all. */
const INFLATED_BYTES = 2 ** 26;
const INFLATED_FACTOR = 16;
/** Where a checkpoint written here keeps texts. */
export const METADATA_KEY = "tessera";
/** First pickle of an old file. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;

/** A checkpoint's content, whichever of the two formats it came from. */
interface Content {
  readonly value: unknown;
  /** Compares a storage's record with what the pickle says, and gives the reader of the record. */
  readonly open: (storage: TorchStorage) => StorageRead;
}

/** An open checkpoint. Names, types and shapes are read and checked at once, each tensor when it is asked for. */
export class TorchReader implements TensorFile {
  /** Path of the file. */
  readonly name: string;
  /** Type and shape of each tensor by its name. */
  readonly entries: ReadonlyMap<string, TensorLayout>;
  /** The texts at the key {@linkcode METADATA_KEY}, which this program's own checkpoints have. */
  readonly metadata: ReadonlyMap<string, string>;
  /** State of the training that wrote the file. */
  readonly training: TorchTraining | undefined;
  /** Type and shape of each tensor of that state by its name. */
  readonly trainingEntries: ReadonlyMap<string, TensorLayout>;
  readonly #source: ByteSource;
  readonly #tensors: ReadonlyMap<string, TorchTensor>;
  readonly #records = new Map<string, StorageRead>();

  private constructor(source: ByteSource, content: Content) {
    this.name = source.name;
    this.#source = source;
    const weights = stateOf(content.value, source.name);
    const found = trainingOf(content.value);
    this.training = found?.training;
    this.#tensors = new Map([...weights, ...found?.tensors ?? []]);
    this.metadata = textsOf(content.value);
    const entries = new Map<string, TensorLayout>();
    const trainingEntries = new Map<string, TensorLayout>();
    for (const [name, { dtype, shape, storage }] of this.#tensors) {
      if (dtype === null) {
        throw malformed(
          source.name,
          `tensor ${show(name)}: expected a type of ${
            Object.keys(DTYPE_BYTES).join(", ")
          }, found a ${show(storage.typeName)}`,
        );
      }
      (weights.has(name) ? entries : trainingEntries).set(name, { name, dtype, shape });
      if (!this.#records.has(storage.key)) this.#records.set(storage.key, content.open(storage));
    }
    this.entries = entries;
    this.trainingEntries = trainingEntries;
  }

  /**
   * Opens a checkpoint.
   *
   * @param path The file.
   * @returns The open file; dispose of it after use.
   * @throws {UserError} If it cannot be read, is damaged, or needs more than plain data and tensors.
   */
  static async open(path: string): Promise<TorchReader> {
    return await TorchReader.fromSource(await FileSource.open(path));
  }

  /**
   * Reads names, types and shapes of a checkpoint.
   *
   * @param source The file; closed with the reader, or if it is refused.
   * @returns The reader; dispose of it after use.
   * @throws {UserError} If it is damaged, or needs more than plain data and tensors.
   */
  static async fromSource(source: ByteSource): Promise<TorchReader> {
    try {
      const head = await source.read(0, Math.min(2, source.sizeBytes));
      const isZip = head[0] === 0x50 && head[1] === 0x4b;
      return new TorchReader(source, isZip ? await readZip(source) : await readLegacy(source));
    } catch (error) {
      source.close();
      if (!(error instanceof PickleError)) throw error;
      throw malformed(source.name, error.message);
    }
  }

  /** Reads the elements of a tensor, wherever in its storage they are. */
  async bytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const tensor = this.#tensors.get(name);
    const dtype = tensor?.dtype;
    const record = tensor && this.#records.get(tensor.storage.key);
    if (!dtype || !record) {
      throw malformed(this.name, `expected a tensor ${show(name)}, found none`);
    }
    const { storage, shape, strides, offset } = tensor;
    const view = { shape, strides, offset: offset + storage.start };
    return await readView(view, DTYPE_BYTES[dtype], record);
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#source.close();
  }
}

/** The tensors that a checkpoint names: those of its `state_dict`, or of the dictionary that it is. */
function stateOf(value: unknown, file: string): Map<string, TorchTensor> {
  if (!(value instanceof Map)) {
    throw malformed(file, "expected a dictionary of tensors, found something else");
  }
  const state: unknown = value.get("state_dict") ?? value;
  const tensors = tensorsOf(state);
  if (tensors.size > 0) return tensors;
  // Not Lightning's layout: {"model": weights, "epoch": …} and the like, if there is only one such dictionary.
  const candidates = [...value.values()].map(tensorsOf).filter(({ size }) => size > 0);
  if (candidates.length === 1) return candidates[0]!;
  const keys = [...value.keys()].filter((key) => typeof key === "string").slice(0, 8);
  throw malformed(
    file,
    `expected tensors or one dictionary of tensors, found ${
      candidates.length || "none"
    } at the keys ${show(keys.join(", "))}`,
  );
}

function tensorsOf(value: unknown): Map<string, TorchTensor> {
  const tensors = new Map<string, TorchTensor>();
  if (!(value instanceof Map)) return tensors;
  for (const [name, tensor] of value) {
    if (typeof name === "string" && tensor instanceof TorchTensor) tensors.set(name, tensor);
  }
  return tensors;
}

function textsOf(value: unknown): Map<string, string> {
  const texts: unknown = value instanceof Map ? value.get(METADATA_KEY) : undefined;
  const found = new Map<string, string>();
  for (const [key, text] of texts instanceof Map ? texts : []) {
    if (typeof key === "string" && typeof text === "string") found.set(key, text);
  }
  return found;
}

function wrongSize(file: string, storage: TorchStorage, expected: number, found: number): Error {
  return malformed(
    file,
    `expected ${expected} bytes in storage ${
      show(storage.key)
    } of ${storage.recordElements} elements, found ${found}`,
  );
}

/** An archive: a pickle, and a record a storage. */
async function readZip(source: ByteSource): Promise<Content> {
  const archive = await ZipArchive.open(source, "PyTorch checkpoint");
  const names = [...archive.members.keys()];
  const pickles = names.filter((name) => /(^|\/)data\.pkl$/.test(name));
  const [pickle] = pickles;
  if (pickle === undefined || pickles.length > 1) {
    throw malformed(
      source.name,
      `expected one data.pkl in a PyTorch checkpoint, found ${pickles.length} among ${
        show(names.slice(0, 8).join(", "))
      }`,
    );
  }
  const root = pickle.slice(0, -"data.pkl".length);
  if (archive.members.has(`${root}byteorder`)) {
    const order = new TextDecoder().decode(await archive.readAll(`${root}byteorder`, 64));
    if (order !== "little") {
      throw malformed(source.name, `expected the byte order "little", found ${show(order)}`);
    }
  }
  const { value } = unpickle(await archive.readAll(pickle, MAX_PICKLE_BYTES), 0, torchHooks());
  // The last compressed record: its tensors most often follow each other.
  let inflated: { readonly name: string; readonly content: Uint8Array } | undefined;
  return {
    value,
    open: (storage) => {
      const name = `${root}data/${storage.key}`;
      const expected = storage.recordElements * (storage.dtype ? DTYPE_BYTES[storage.dtype] : 1);
      const member = archive.members.get(name);
      if (!member) throw malformed(source.name, `expected a record ${show(name)}, found none`);
      if (member.sizeBytes !== expected) {
        throw wrongSize(source.name, storage, expected, member.sizeBytes);
      }
      if (member.stored) return (start, length) => archive.read(name, start, length);
      const limit = INFLATED_BYTES + INFLATED_FACTOR * member.packedBytes;
      return async (start, length) => {
        if (inflated?.name !== name) {
          inflated = undefined;
          inflated = { name, content: await archive.readAll(name, limit) };
        }
        return new Uint8Array(inflated.content.subarray(start, start + length));
      };
    },
  };
}

/** An old file: pickles of a magic number, a version, the machine, the content and the keys; then each storage behind its length. */
async function readLegacy(source: ByteSource): Promise<Content> {
  const found = new Map<string, TorchStorage>();
  const hooks = torchHooks((storage) => {
    const before = found.get(storage.key);
    if (before && before.typeName !== storage.typeName) {
      throw new PickleError(`expected one type of the storage ${show(storage.key)}, found two`);
    }
    found.set(storage.key, storage);
  });
  const [, , , value, keys, position] = await legacyPickles(source, hooks);
  const records = new Map<string, { readonly at: number; readonly bytes: number }>();
  let at = position;
  for (const key of Array.isArray(keys) ? keys : []) {
    const storage = found.get(String(key));
    if (storage?.dtype === undefined || storage.dtype === null) {
      throw malformed(
        source.name,
        `expected a storage of a known type as ${show(key)}, found ${
          show(storage?.typeName ?? "none")
        }`,
      );
    }
    const header = await source.read(at, 8);
    const elements = Number(new DataView(header.buffer).getBigUint64(0, true));
    const bytes = storage.recordElements * DTYPE_BYTES[storage.dtype];
    if (elements !== storage.recordElements) {
      throw wrongSize(source.name, storage, bytes, elements * DTYPE_BYTES[storage.dtype]);
    }
    if (at + 8 + bytes > source.sizeBytes) {
      throw wrongSize(source.name, storage, bytes, source.sizeBytes - at - 8);
    }
    records.set(storage.key, { at: at + 8, bytes });
    at += 8 + bytes;
  }
  return {
    value,
    open: (storage) => {
      const record = records.get(storage.key);
      if (!record) {
        throw malformed(source.name, `expected a storage ${show(storage.key)}, found none`);
      }
      return (start, length) => {
        if (start + length > record.bytes) {
          throw wrongSize(source.name, storage, start + length, record.bytes);
        }
        return source.read(record.at + start, length);
      };
    },
  };
}

/** The five pickles of an old file, and where they end. How long they are is only known once they are read. */
async function legacyPickles(
  source: ByteSource,
  hooks: ReturnType<typeof torchHooks>,
): Promise<[unknown, unknown, unknown, unknown, unknown, number]> {
  for (let window = FIRST_WINDOW_BYTES;; window *= 4) {
    const size = Math.min(window, source.sizeBytes, MAX_PICKLE_BYTES);
    const bytes = await source.read(0, size);
    try {
      const magic = unpickle(bytes, 0, hooks);
      if (magic.value !== LEGACY_MAGIC) {
        throw new PickleError("expected the magic number of a PyTorch file, found another pickle");
      }
      const protocol = unpickle(bytes, magic.end, hooks);
      if (protocol.value !== LEGACY_PROTOCOL) {
        throw new PickleError(
          `expected version ${LEGACY_PROTOCOL} of PyTorch's old format, found ${
            show(protocol.value)
          }`,
        );
      }
      const machine = unpickle(bytes, protocol.end, hooks);
      if (machine.value instanceof Map && machine.value.get("little_endian") === false) {
        throw new PickleError("expected numbers with the least byte first, found the other order");
      }
      const content = unpickle(bytes, machine.end, hooks);
      const keys = unpickle(bytes, content.end, hooks);
      return [magic.value, protocol.value, machine.value, content.value, keys.value, keys.end];
    } catch (error) {
      const isAll = size === source.sizeBytes || size === MAX_PICKLE_BYTES;
      if (!(error instanceof PickleCutShort) || isAll) throw error;
    }
  }
}
