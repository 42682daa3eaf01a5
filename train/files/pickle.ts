/**
 * Reads Python's pickles as data. A pickle is a program for a small machine; this one builds numbers, texts, lists, tuples and
 * dictionaries, and can call nothing: what a name or a call stands for is decided by the reader of the format.
 *
 * @module
 */

/** A tuple. */
export class PickleTuple {
  /**
   * Wraps the items.
   *
   * @param items In order.
   */
  constructor(readonly items: readonly unknown[]) {}
}

/** A class or a function that the pickle names. */
export class PickleGlobal {
  /**
   * Names it.
   *
   * @param module Its module, such as "collections".
   * @param name Its name, such as "OrderedDict".
   */
  constructor(readonly module: string, readonly name: string) {}

  /** Module and name. */
  get path(): string {
    return `${this.module}.${this.name}`;
  }
}

/** What the reader of a format makes of a pickle's names. */
export interface PickleHooks {
  /**
   * Gives what a call of a named thing stands for; nothing is ever executed.
   *
   * @throws {PickleError} If it has no meaning in this format.
   */
  call(global: PickleGlobal, args: readonly unknown[]): unknown;
  /** Gives what an id of something outside of the pickle stands for. */
  persistent(id: unknown): unknown;
}

/** The pickle is damaged, or asks for what is refused. */
export class PickleError extends Error {}

/** The bytes end before the pickle does. */
export class PickleCutShort extends PickleError {}

/** Steps of the largest pickle that is read; a checkpoint of thousands of tensors has some hundred thousand. */
const MAX_STEPS = 2 ** 22;
/** Bytes of the largest whole number. */
const MAX_LONG_BYTES = 32;

/** A place of the stack from which several items are taken at once. */
const MARK = Symbol("mark");

/** Reads the arguments of opcodes. */
class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  position: number;

  constructor(bytes: Uint8Array, position: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.position = position;
  }

  /** Moves over some bytes and gives where they started. */
  #take(count: number): number {
    const start = this.position;
    if (count > this.#bytes.length - start) {
      throw new PickleCutShort(`expected ${count} more bytes of a pickle, found its end`);
    }
    this.position += count;
    return start;
  }

  uint8 = (): number => this.#view.getUint8(this.#take(1));
  uint16 = (): number => this.#view.getUint16(this.#take(2), true);
  uint32 = (): number => this.#view.getUint32(this.#take(4), true);
  int32 = (): number => this.#view.getInt32(this.#take(4), true);
  /** Lengths of 8 bytes; no pickle here is longer than a safe integer. */
  uint64 = (): number => Number(this.#view.getBigUint64(this.#take(8), true));
  /** Python writes this one with the first byte largest. */
  float64 = (): number => this.#view.getFloat64(this.#take(8), false);

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const start = this.#take(count);
    return new Uint8Array(this.#bytes.subarray(start, start + count));
  }

  text(count: number): string {
    const start = this.#take(count);
    return new TextDecoder().decode(this.#bytes.subarray(start, start + count));
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.position);
    if (end < 0) throw new PickleCutShort("expected the end of a line in a pickle, found its end");
    const text = this.text(end - this.position);
    this.position++;
    return text;
  }

  /** A whole number of any length, least byte first, in two's complement. */
  long(count: number): number | bigint {
    if (count > MAX_LONG_BYTES) {
      throw new PickleError(`expected a number of at most ${MAX_LONG_BYTES} bytes, found ${count}`);
    }
    let value = 0n;
    for (const [i, byte] of this.bytes(count).entries()) value |= BigInt(byte) << BigInt(8 * i);
    const signed = BigInt.asIntN(8 * count, value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
  }
}

/** The machine: a stack, a memo, and the bytes. */
class Machine {
  readonly #reader: ByteReader;
  readonly #hooks: PickleHooks;
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();

  constructor(reader: ByteReader, hooks: PickleHooks) {
    this.#reader = reader;
    this.#hooks = hooks;
  }

  run(): unknown {
    for (let step = 0; step < MAX_STEPS; step++) {
      const code = this.#reader.uint8();
      // ".": what is on top is the result.
      if (code === 0x2e) return this.#pop();
      const operation = OPERATIONS.get(code);
      if (!operation) {
        const shown = code.toString(16).padStart(2, "0");
        throw new PickleError(`expected an opcode of pickle protocol 2 to 5, found 0x${shown}`);
      }
      operation(this, this.#reader);
    }
    throw new PickleError(`expected a pickle of at most ${MAX_STEPS} steps, found more`);
  }

  push = (value: unknown): void => void this.#stack.push(value);
  mark = (): void => this.push(MARK);
  pop = (): void => void this.#pop();
  /** Takes everything above the last mark. */
  items(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw new PickleError("expected a mark on the stack of a pickle, found none");
    const items = this.#stack.splice(mark);
    return items.slice(1);
  }
  tuple(count: number): void {
    const items = Array.from({ length: count }, () => this.#pop());
    this.push(new PickleTuple(items.reverse()));
  }
  append(values: readonly unknown[]): void {
    const list = this.#top();
    // A subclass of list that only stands for something stays empty.
    if (Array.isArray(list)) { for (const value of values) list.push(value); }
    else if (list instanceof Set) { for (const value of values) list.add(value); }
  }
  set(values: readonly unknown[]): void {
    if (values.length % 2 !== 0) {
      throw new PickleError("expected pairs of keys and values in a pickle, found a single one");
    }
    const dictionary = this.#top();
    if (!(dictionary instanceof Map)) return;
    for (let i = 0; i < values.length; i += 2) dictionary.set(values[i], values[i + 1]);
  }
  pair = (): void => {
    const value = this.#pop();
    const key = this.#pop();
    this.set([key, value]);
  };
  single = (): void => {
    const value = this.#pop();
    this.append([value]);
  };
  call = (): void => {
    const args = this.#pop();
    const callable = this.#pop();
    if (!(callable instanceof PickleGlobal)) {
      throw new PickleError("expected a call of a named function in a pickle, found another one");
    }
    if (!(args instanceof PickleTuple)) {
      throw new PickleError(`expected a tuple of arguments for ${callable.path}, found none`);
    }
    this.push(this.#hooks.call(callable, args.items));
  };
  /** Attributes of an object: nothing that is read here has any. */
  build = (): void => this.pop();
  persistent = (): void => this.push(this.#hooks.persistent(this.#pop()));
  stackGlobal = (): void => {
    const name = this.#pop();
    const module = this.#pop();
    if (typeof module !== "string" || typeof name !== "string") {
      throw new PickleError("expected texts as module and name in a pickle, found something else");
    }
    this.push(new PickleGlobal(module, name));
  };
  remember = (index: number): void => void this.#memo.set(index, this.#top());
  memoize = (): void => this.remember(this.#memo.size);
  recall = (index: number): void => {
    if (!this.#memo.has(index)) {
      throw new PickleError(`expected an object ${index} in the memo of a pickle, found none`);
    }
    this.push(this.#memo.get(index));
  };

  #top(): unknown {
    if (this.#stack.length === 0) {
      throw new PickleError("expected something on the stack of a pickle, found nothing");
    }
    const top = this.#stack.at(-1);
    if (top === MARK) throw new PickleError("expected an object in a pickle, found a mark");
    return top;
  }
  #pop(): unknown {
    const top = this.#top();
    this.#stack.pop();
    return top;
  }
}

type Operation = (machine: Machine, reader: ByteReader) => void;

/** The opcodes that Python writes with protocols 2 to 5, without those that only text protocols have. */
const OPERATIONS_BY_CHARACTER: readonly (readonly [string, Operation])[] = [
  // Protocol and frames change nothing.
  ["\x80", (_, reader) => void reader.uint8()],
  ["\x95", (_, reader) => void reader.uint64()],
  // Constants and numbers.
  ["N", (machine) => machine.push(null)],
  ["\x88", (machine) => machine.push(true)],
  ["\x89", (machine) => machine.push(false)],
  ["J", (machine, reader) => machine.push(reader.int32())],
  ["K", (machine, reader) => machine.push(reader.uint8())],
  ["M", (machine, reader) => machine.push(reader.uint16())],
  ["G", (machine, reader) => machine.push(reader.float64())],
  ["\x8a", (machine, reader) => machine.push(reader.long(reader.uint8()))],
  ["\x8b", (machine, reader) => machine.push(reader.long(reader.uint32()))],
  // Texts and bytes.
  ["X", (machine, reader) => machine.push(reader.text(reader.uint32()))],
  ["\x8c", (machine, reader) => machine.push(reader.text(reader.uint8()))],
  ["\x8d", (machine, reader) => machine.push(reader.text(reader.uint64()))],
  ["U", (machine, reader) => machine.push(reader.text(reader.uint8()))],
  ["T", (machine, reader) => machine.push(reader.text(reader.uint32()))],
  ["C", (machine, reader) => machine.push(reader.bytes(reader.uint8()))],
  ["B", (machine, reader) => machine.push(reader.bytes(reader.uint32()))],
  ["\x8e", (machine, reader) => machine.push(reader.bytes(reader.uint64()))],
  ["\x96", (machine, reader) => machine.push(reader.bytes(reader.uint64()))],
  // Collections.
  ["(", (machine) => machine.mark()],
  ["]", (machine) => machine.push([])],
  ["}", (machine) => machine.push(new Map())],
  [")", (machine) => machine.push(new PickleTuple([]))],
  ["\x8f", (machine) => machine.push(new Set())],
  ["\x85", (machine) => machine.tuple(1)],
  ["\x86", (machine) => machine.tuple(2)],
  ["\x87", (machine) => machine.tuple(3)],
  ["t", (machine) => machine.push(new PickleTuple(machine.items()))],
  ["l", (machine) => machine.push(machine.items())],
  ["\x91", (machine) => machine.push(new Set(machine.items()))],
  ["a", (machine) => machine.single()],
  ["e", (machine) => machine.append(machine.items())],
  ["\x90", (machine) => machine.append(machine.items())],
  ["s", (machine) => machine.pair()],
  ["u", (machine) => machine.set(machine.items())],
  // Stack and memo.
  ["0", (machine) => machine.pop()],
  ["1", (machine) => void machine.items()],
  ["q", (machine, reader) => machine.remember(reader.uint8())],
  ["r", (machine, reader) => machine.remember(reader.uint32())],
  ["\x94", (machine) => machine.memoize()],
  ["h", (machine, reader) => machine.recall(reader.uint8())],
  ["j", (machine, reader) => machine.recall(reader.uint32())],
  // Names, and calls of them.
  ["c", (machine, reader) => machine.push(new PickleGlobal(reader.line(), reader.line()))],
  ["\x93", (machine) => machine.stackGlobal()],
  ["R", (machine) => machine.call()],
  ["\x81", (machine) => machine.call()],
  ["b", (machine) => machine.build()],
  ["Q", (machine) => machine.persistent()],
];
const OPERATIONS: ReadonlyMap<number, Operation> = new Map(
  OPERATIONS_BY_CHARACTER.map(([character, operation]) => [character.charCodeAt(0), operation]),
);

/**
 * Reads one pickle.
 *
 * @param bytes Where it is.
 * @param start Its first byte.
 * @param hooks What its names stand for.
 * @returns The value (dictionaries as Map, lists as arrays, tuples as {@linkcode PickleTuple}), and where the pickle ends.
 * @throws {PickleCutShort} If the bytes end before it.
 * @throws {PickleError} If it is damaged, or the hooks refuse what it asks for.
 */
export function unpickle(
  bytes: Uint8Array,
  start: number,
  hooks: PickleHooks,
): { readonly value: unknown; readonly end: number } {
  const reader = new ByteReader(bytes, start);
  const value = new Machine(reader, hooks).run();
  return { value, end: reader.position };
}
