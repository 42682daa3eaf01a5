/**
 * What the names in PyTorch's pickles stand for: storages, tensors, plain data. Everything else is refused or, where it belongs
 * to the training program and holds no weights, stays an empty stand-in. Nothing is ever called.
 *
 * @module
 */
import { show } from "./byte_source.ts";
import { PickleError, PickleGlobal, type PickleHooks, PickleTuple } from "./pickle.ts";
import { DTYPE_BYTES, elementCount, type SafetensorsDtype } from "./safetensors_format.ts";
import { spanOf, type StridedView } from "./strided.ts";

/** Bytes of a checkpoint that tensors are views of. */
export interface TorchStorage {
  /** Which one: name of the record in the archive. */
  readonly key: string;
  /** PyTorch's name of the element type, such as "FloatStorage". */
  readonly typeName: string;
  /** Element type, or null for one that is not read here. */
  readonly dtype: SafetensorsDtype | null;
  /** Number of elements, of bytes where the storage has no type of its own. */
  readonly elements: number;
  /** First element within the record; only storages of old files are parts of records. */
  readonly start: number;
  /** Number of elements of the record. */
  readonly recordElements: number;
}

/** A tensor as a pickle describes it. */
export class TorchTensor implements StridedView {
  /**
   * Wraps a view.
   *
   * @param storage Where the elements are.
   * @param dtype Element type, or null for one that is not read here.
   * @param view Shape, strides in elements, and first element within the storage.
   */
  constructor(
    readonly storage: TorchStorage,
    readonly dtype: SafetensorsDtype | null,
    view: StridedView,
  ) {
    this.shape = view.shape;
    this.strides = view.strides;
    this.offset = view.offset;
  }
  /** Extents. */
  readonly shape: readonly number[];
  /** Steps in elements. */
  readonly strides: readonly number[];
  /** First element. */
  readonly offset: number;
}

/** Element types by PyTorch's names of storages and of types. */
const DTYPES: ReadonlyMap<string, SafetensorsDtype> = new Map([
  ["DoubleStorage", "F64"],
  ["FloatStorage", "F32"],
  ["HalfStorage", "F16"],
  ["BFloat16Storage", "BF16"],
  ["LongStorage", "I64"],
  ["IntStorage", "I32"],
  ["ShortStorage", "I16"],
  ["CharStorage", "I8"],
  ["ByteStorage", "U8"],
  ["BoolStorage", "BOOL"],
  // A storage without a type counts bytes; its tensors name their type.
  ["UntypedStorage", "U8"],
  ["float64", "F64"],
  ["float32", "F32"],
  ["float16", "F16"],
  ["bfloat16", "BF16"],
  ["int64", "I64"],
  ["int32", "I32"],
  ["int16", "I16"],
  ["int8", "I8"],
  ["uint8", "U8"],
  ["bool", "BOOL"],
]);

/** Elements of the largest tensor that repeats elements of its storage, such as an expanded scalar. */
const MAX_REPEATED_ELEMENTS = 2 ** 22;
/** PyTorch's own limit of axes. */
const MAX_AXES = 64;

/** Something of the training program that holds no weights. */
const STAND_IN = Object.freeze({});

/** Plain data of Python, NumPy and of the libraries whose objects checkpoints of trainings have. They are not made, only skipped. */
const SKIPPED: readonly RegExp[] = [
  /^(builtins|__builtin__)\.(set|frozenset|list|dict|tuple|bytearray|complex|slice|int|float|bool|str|object)$/,
  /^collections\.(deque|Counter)$/,
  /^_codecs\.encode$/,
  /^copy_?reg\._reconstructor$/,
  /^numpy\.(dtype|ndarray)$/,
  /^numpy\._?core\.(multiarray|numeric)\.(scalar|_reconstruct|_frombuffer)$/,
  /^numpy\.dtypes\.\w+$/,
  /^torch\.(device|Generator)$/,
  /^torch\.serialization\._get_layout$/,
  /^argparse\.Namespace$/,
  /^(pathlib|datetime|decimal|uuid|enum)\.\w+$/,
  /^(lightning|pytorch_lightning|lightning_fabric|omegaconf)\./,
];

function isIndex(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function indices(value: unknown, what: string): number[] {
  const items = value instanceof PickleTuple ? value.items : value;
  if (Array.isArray(items) && items.length <= MAX_AXES && items.every(isIndex)) return [...items];
  throw new PickleError(
    `expected whole numbers of at least 0 as ${what} of a tensor, found ${show(items ?? null)}`,
  );
}

function isStorage(value: unknown): value is TorchStorage {
  return typeof value === "object" && value !== null && "typeName" in value;
}

/** A tensor over a storage. Whether the storage is there is found out later; that the view lies within it, here. */
function tensor(args: readonly unknown[], dtype?: SafetensorsDtype | null): TorchTensor {
  const [storage, offset, size, stride] = args;
  if (!isStorage(storage)) {
    throw new PickleError("expected a storage below a tensor, found something else");
  }
  if (!isIndex(offset)) {
    throw new PickleError(
      `expected a whole number of at least 0 as offset of a tensor, found ${show(offset ?? null)}`,
    );
  }
  const view = { shape: indices(size, "shape"), strides: indices(stride, "strides"), offset };
  if (view.shape.length !== view.strides.length) {
    throw new PickleError(`expected a stride for each axis of [${view.shape}], found others`);
  }
  const type = dtype === undefined ? storage.dtype : dtype;
  const available = type !== null && storage.typeName === "UntypedStorage"
    ? Math.floor(storage.elements / DTYPE_BYTES[type])
    : storage.elements;
  const span = spanOf(view);
  if (offset + span > available) {
    throw new PickleError(
      `expected a tensor of shape [${view.shape}] within its storage of ${available} elements, found one that needs ${
        offset + span
      }`,
    );
  }
  const count = elementCount(view.shape);
  if (!Number.isSafeInteger(count)) {
    throw new PickleError(`expected a shape that fits a file, found [${view.shape}]`);
  }
  if (count > Math.max(available, MAX_REPEATED_ELEMENTS)) {
    throw new PickleError(
      `expected at most ${MAX_REPEATED_ELEMENTS} elements repeated from a storage of ${available}, found ${count}`,
    );
  }
  return new TorchTensor(storage, type, view);
}

/** What calls of these names stand for. */
const CALLS: ReadonlyMap<string, (args: readonly unknown[]) => unknown> = new Map<
  string,
  (args: readonly unknown[]) => unknown
>([
  ["torch._utils._rebuild_tensor", (args) => tensor(args)],
  ["torch._utils._rebuild_tensor_v2", (args) => tensor(args)],
  ["torch._utils._rebuild_tensor_v3", (args) => {
    const type = args[6];
    return tensor(args, (type instanceof PickleGlobal ? DTYPES.get(type.name) : null) ?? null);
  }],
  ["torch._utils._rebuild_parameter", ([data]) => data],
  ["torch._utils._rebuild_parameter_with_state", ([data]) => data],
  ["torch.nn.parameter.Parameter", ([data]) => data],
  ["torch.Size", ([items]) => items],
  ["collections.OrderedDict", ([pairs]) => dictionary(pairs)],
  ["collections.defaultdict", () => new Map()],
]);

function dictionary(pairs: unknown): Map<unknown, unknown> {
  const map = new Map<unknown, unknown>();
  for (const pair of Array.isArray(pairs) ? pairs : []) {
    const items: unknown = pair instanceof PickleTuple ? pair.items : pair;
    if (Array.isArray(items) && items.length === 2) map.set(items[0], items[1]);
  }
  return map;
}

/** Reads PyTorch's ids of storages: ("storage", type, key, device, elements), in old files a part of it behind. */
function storage(id: unknown): TorchStorage {
  const items = id instanceof PickleTuple ? id.items : [];
  const [tag, type, key, , elements, part] = items;
  const isKey = typeof key === "string" || isIndex(key);
  if (tag !== "storage" || !(type instanceof PickleGlobal) || !isKey || !isIndex(elements)) {
    throw new PickleError("expected an id of a storage in a pickle, found another one");
  }
  const found = { key: String(key), typeName: type.name, dtype: DTYPES.get(type.name) ?? null };
  if (!(part instanceof PickleTuple)) {
    return { ...found, elements, start: 0, recordElements: elements };
  }
  const [, start, length] = part.items;
  if (!isIndex(start) || !isIndex(length) || start + length > elements) {
    throw new PickleError(`expected a part of the storage ${show(key)}, found one outside of it`);
  }
  return { ...found, elements: length, start, recordElements: elements };
}

/**
 * Makes the hooks for PyTorch's pickles.
 *
 * @param onStorage Gets each storage.
 * @returns The hooks.
 */
export function torchHooks(
  onStorage: (storage: TorchStorage) => void = () => {},
): PickleHooks {
  return {
    call({ path }, args) {
      const call = CALLS.get(path);
      if (call) return call(args);
      if (SKIPPED.some((pattern) => pattern.test(path))) return STAND_IN;
      throw new PickleError(
        `expected tensors and plain data, found a call of ${
          path.slice(0, 100)
        }, which is refused: reading weights runs no code`,
      );
    },
    persistent(id) {
      const found = storage(id);
      onStorage(found);
      return found;
    },
  };
}
