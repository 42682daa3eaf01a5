/**
 * Writes checkpoints that `torch.load(weights_only=True)` reads, tensor after tensor, always the same bytes for the same content.
 *
 * @module
 */
import { writeFileAtomically } from "./atomic.ts";
import { elementCount, type SafetensorsDtype } from "./safetensors_format.ts";
import { bytesOf, type TensorSource } from "./safetensors_writer.ts";
import { METADATA_KEY } from "./torch_reader.ts";
import { zipChunks, type ZipSource } from "./zip_writer.ts";

/** Plain data of Python, with tensors: whole numbers are written as `int`, others as `float`. */
export type TorchValue =
  | number
  | string
  | boolean
  | null
  | readonly TorchValue[]
  | ReadonlyMap<string | number, TorchValue>
  | TensorSource;

/** What stands beside the tensors. */
export interface TorchWriteOptions {
  /** Entries at the top, such as `epoch` and `global_step`. */
  readonly entries?: ReadonlyMap<string, TorchValue>;
  /** Texts, in a dictionary of their own. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** PyTorch's storages by element type; it has no older name for the two that are missing. */
const STORAGES: Readonly<Record<Exclude<SafetensorsDtype, "U16" | "U32">, string>> = {
  F64: "DoubleStorage",
  F32: "FloatStorage",
  F16: "HalfStorage",
  BF16: "BFloat16Storage",
  I64: "LongStorage",
  I32: "IntStorage",
  I16: "ShortStorage",
  I8: "CharStorage",
  U8: "ByteStorage",
  BOOL: "BoolStorage",
};

/** Folder of everything in the archive; PyTorch takes any. */
const ROOT = "archive/";

/**
 * Writes a checkpoint in Lightning's layout: the tensors in a dictionary `state_dict`, in the given order.
 *
 * @param path File to create or replace, atomically; at most one tensor is in memory at a time.
 * @param tensors The tensors.
 * @param options What stands beside them.
 * @returns Size of the file in bytes.
 * @throws {UserError} If the file cannot be written; the old one, if any, is untouched then.
 * @throws {TypeError} If a tensor's values are not as many as its shape says, or PyTorch has no such type.
 */
export async function writeTorch(
  path: string,
  tensors: readonly TensorSource[],
  options: TorchWriteOptions = {},
): Promise<number> {
  const file = (name: string, content: ZipSource["content"]): ZipSource => ({
    name: ROOT + name,
    content,
  });
  const text = (value: string): Uint8Array[] => [new TextEncoder().encode(value)];
  const pickle = new CheckpointPickle();
  const content = pickle.write(tensors, options);
  return await writeFileAtomically(
    path,
    zipChunks([
      file("data.pkl", [content]),
      file("byteorder", text("little")),
      ...pickle.tensors.map((tensor, key) => file(`data/${key}`, contentOf(tensor))),
      file("version", text("3\n")),
    ]),
  );
}

async function* contentOf(tensor: TensorSource): AsyncGenerator<Uint8Array> {
  yield await bytesOf(tensor);
}

/** The pickle of a checkpoint, and the tensors that it names, each the only one of its storage. */
class CheckpointPickle {
  readonly #pickle = new PickleWriter();
  /** The tensors by number of their storage. */
  readonly tensors: TensorSource[] = [];

  write(
    state: readonly TensorSource[],
    { entries = new Map(), metadata = {} }: TorchWriteOptions,
  ): Uint8Array {
    const pickle = this.#pickle;
    pickle.dictionary(() => {
      pickle.text("state_dict");
      pickle.emptyOrderedDictionary();
      pickle.items(() => {
        for (const tensor of state) {
          pickle.text(tensor.name);
          this.#tensor(tensor);
        }
      });
      for (const [name, value] of entries) {
        pickle.text(name);
        this.#value(value);
      }
      pickle.text(METADATA_KEY);
      this.#value(new Map(Object.entries(metadata)));
    });
    return pickle.finish();
  }

  #value(value: TorchValue): void {
    const pickle = this.#pickle;
    if (value === null) pickle.none();
    else if (typeof value === "boolean") pickle.truth(value);
    else if (typeof value === "string") pickle.text(value);
    else if (typeof value === "number") pickle.number(value);
    else if (isMap(value)) {
      pickle.dictionary(() => {
        for (const [key, item] of value) {
          this.#value(key);
          this.#value(item);
        }
      });
    } else if (isList(value)) pickle.list(() => value.forEach((item) => this.#value(item)));
    else this.#tensor(value);
  }

  /** A call of PyTorch's function that makes a tensor of a storage: storage, offset, shape, strides, no gradient, no hooks. */
  #tensor(tensor: TensorSource): void {
    const { name, dtype, shape } = tensor;
    if (dtype === "U16" || dtype === "U32") {
      throw new TypeError(
        `Cannot write tensor ${name}: expected a type of PyTorch, found ${dtype}`,
      );
    }
    const pickle = this.#pickle;
    const key = this.tensors.push(tensor) - 1;
    const elements = elementCount(shape);
    pickle.global("torch._utils", "_rebuild_tensor_v2");
    pickle.tuple(() => {
      pickle.tuple(() => {
        pickle.text("storage");
        pickle.global("torch", STORAGES[dtype]);
        pickle.text(String(key));
        pickle.text("cpu");
        pickle.number(elements);
      });
      pickle.persistent();
      pickle.number(0);
      pickle.tuple(() => shape.forEach((extent) => pickle.number(extent)));
      pickle.tuple(() =>
        shape.forEach((_, axis) => pickle.number(elementCount(shape.slice(axis + 1))))
      );
      pickle.truth(false);
      pickle.emptyOrderedDictionary();
    });
    pickle.call();
  }
}

// Array.isArray() and instanceof do not narrow read-only types.
function isList(value: TorchValue): value is readonly TorchValue[] {
  return Array.isArray(value);
}

function isMap(value: TorchValue): value is ReadonlyMap<string | number, TorchValue> {
  return value instanceof Map;
}

/** Writes the few opcodes of pickle protocol 2 that a checkpoint needs. */
class PickleWriter {
  readonly #bytes: number[] = [0x80, 2];

  number(value: number): void {
    const view = new DataView(new ArrayBuffer(8));
    if (!Number.isInteger(value)) {
      this.#opcode("G");
      view.setFloat64(0, value);
    } else if (Math.abs(value) < 2 ** 31) {
      this.#opcode("J");
      this.#word(value);
      return;
    } else {
      this.#opcode("\x8a");
      this.#bytes.push(8);
      view.setBigInt64(0, BigInt(value), true);
    }
    this.#bytes.push(...new Uint8Array(view.buffer));
  }
  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.#opcode("X");
    this.#word(bytes.length);
    for (const byte of bytes) this.#bytes.push(byte);
  }
  global(module: string, name: string): void {
    this.#opcode("c");
    for (const byte of new TextEncoder().encode(`${module}\n${name}\n`)) this.#bytes.push(byte);
  }
  none = (): void => this.#opcode("N");
  truth = (value: boolean): void => this.#opcode(value ? "\x88" : "\x89");
  call = (): void => this.#opcode("R");
  persistent = (): void => this.#opcode("Q");
  emptyOrderedDictionary(): void {
    this.global("collections", "OrderedDict");
    this.#opcode(")");
    this.call();
  }
  tuple(body: () => void): void {
    this.#opcode("(");
    body();
    this.#opcode("t");
  }
  dictionary(body: () => void): void {
    this.#opcode("}");
    this.items(body);
  }
  list(body: () => void): void {
    this.#opcode("](");
    body();
    this.#opcode("e");
  }
  /** Adds pairs of keys and values to the dictionary before. */
  items(body: () => void): void {
    this.#opcode("(");
    body();
    this.#opcode("u");
  }
  finish(): Uint8Array {
    this.#opcode(".");
    return Uint8Array.from(this.#bytes);
  }

  #opcode(characters: string): void {
    for (const character of characters) this.#bytes.push(character.charCodeAt(0));
  }
  #word(value: number): void {
    for (let shift = 0; shift < 32; shift += 8) this.#bytes.push((value >> shift) & 0xff);
  }
}
