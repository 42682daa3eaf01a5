/** Damaged and hostile checkpoints of each kind, the same in every run, for tests of what reads them. @module */

import { Uint8ArrayReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import { mix32 } from "../models/hash.ts";
import { encodeSafetensors } from "../train/files/safetensors.ts";
import { corrupted, DAMAGES, type LengthField } from "./corrupt.ts";

/** The kinds of files. */
export type CheckpointKind = "zip" | "legacy" | "safetensors";

/** One file that must be refused, or read as it was. */
export interface HostileFile {
  /** How it was made, for messages. */
  readonly what: string;
  /** The file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whether it must be refused. */
  readonly refused: boolean;
}

const text = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value);
function joined(...parts: readonly (string | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  const chunks = parts.map((part) => typeof part === "string" ? latin(part) : part);
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
/** Characters up to 0xff as bytes. */
const latin = (value: string): Uint8Array =>
  Uint8Array.from(value, (character) => character.charCodeAt(0));

/** A call of a function by a pickle, written in each way that Python has. */
const CALLS: readonly ((module: string, name: string) => Uint8Array)[] = [
  (module, name) => joined("\x80\x02", `c${module}\n${name}\n`, "X\x02\0\0\0id\x85R."),
  (module, name) => joined("\x80\x04", short(module), short(name), "\x93", "X\x02\0\0\0id\x85R."),
  (module, name) => joined("\x80\x02", `c${module}\n${name}\n`, "X\x02\0\0\0id\x85\x81."),
  (module, name) => joined("\x80\x02(X\x02\0\0\0id", `i${module}\n${name}\n.`),
  (module, name) => joined("\x80\x02(", `c${module}\n${name}\n`, "X\x02\0\0\0ido."),
  (module, name) => joined("\x80\x02", `c${module}\n${name}\n`, ")R}X\x01\0\0\0aK\x01sb."),
  (module, name) => joined("\x80\x02}", `c${module}\n${name}\n`, "X\x02\0\0\0id\x85RK\x01s."),
];
const short = (value: string): Uint8Array =>
  joined("\x8c", String.fromCharCode(value.length), value);

const FUNCTIONS: readonly (readonly [string, string])[] = [
  ["os", "system"],
  ["posix", "system"],
  ["builtins", "eval"],
  ["__builtin__", "exec"],
  ["builtins", "getattr"],
  ["builtins", "__import__"],
  ["subprocess", "Popen"],
  ["torch", "load"],
  ["torch.hub", "load"],
  ["collections", "OrderedDict.__class__"],
  ["lightningx", "Trainer"],
  ["runpy", "_run_code"],
];

/** Pickles that ask for memory, time or depth. */
const GREEDY: readonly (() => Uint8Array)[] = [
  // Ten thousand lists, each within the next.
  () => joined("\x80\x02", "(".repeat(10_000), "l".repeat(10_000), "."),
  // A list that holds itself, as a shape.
  () => joined("\x80\x02]q\0h\0a."),
  // Each tuple twice the one before: 2^60 paths.
  () => joined("\x80\x02)", "2\x86".repeat(60).replaceAll("2", "q\0h\0"), "."),
  // A whole number and a text of 4 GiB.
  () => joined("\x80\x02\x8b\xff\xff\xff\x7f\x01."),
  () => joined("\x80\x02X\xff\xff\xff\xffa."),
  () => joined("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa."),
  // Five million steps.
  () => joined("\x80\x02", new Uint8Array(5_000_000).fill("N".charCodeAt(0)), "."),
  // Nothing, and only a mark.
  () => joined("."),
  () => joined("\x80\x02(."),
];

/** Tensors that no storage holds. */
const SHAPES: readonly [offset: string, shape: string, strides: string][] = [
  ["K\0", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", "K\x01K\x01\x86"],
  ["K\0", "J\xff\xff\xff\x7f\x85", "K\0\x85"],
  ["J\xff\xff\xff\xff", "K\x01\x85", "K\x01\x85"],
  ["K\0", "K\x01\x85", "J\xff\xff\xff\xff\x85"],
  ["K\0", "G\x7f\xf0\0\0\0\0\0\0\x85", "K\x01\x85"],
  ["K\0", "K\x02\x85", ")"],
  ["K\0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "K\0\x85"],
  ["K\0", "K\0J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87\x85", "K\0\x85"],
];

/** The pickle of {"w": a tensor over a storage of four elements}. */
function tensorPickle(view: (typeof SHAPES)[number], key = "0"): Uint8Array {
  const [offset, shape, strides] = view;
  return joined(
    "\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n",
    joined("X", String.fromCharCode(key.length), "\0\0\0", key),
    "X\x03\0\0\0cpuK\x04tQ",
    offset,
    shape,
    strides,
    "\x89)tRs.",
  );
}

const SOUND_VIEW: (typeof SHAPES)[number] = ["K\0", "K\x04\x85", "K\x01\x85"];

/** A zip archive; `level` 0 stores. */
async function archive(
  files: readonly (readonly [name: string, content: Uint8Array])[],
  level = 0,
): Promise<Uint8Array<ArrayBuffer>> {
  const writer = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false, level });
  for (const [name, content] of files) await writer.add(name, new Uint8ArrayReader(content));
  return new Uint8Array(await writer.close());
}

const STORAGE = new Uint8Array(16);

/** Archives that are whole but hostile. */
async function* hostileArchives(): AsyncGenerator<readonly [string, Uint8Array<ArrayBuffer>]> {
  for (const [i, call] of CALLS.entries()) {
    for (const [module, name] of FUNCTIONS) {
      yield [`call ${i} of ${module}.${name}`, await archive([["a/data.pkl", call(module, name)]])];
    }
  }
  for (const [i, greedy] of GREEDY.entries()) {
    yield [`greedy pickle ${i}`, await archive([["a/data.pkl", greedy()]])];
  }
  for (const [i, view] of SHAPES.entries()) {
    yield [
      `tensor ${i}`,
      await archive([["a/data.pkl", tensorPickle(view)], ["a/data/0", STORAGE]]),
    ];
  }
  const sound = tensorPickle(SOUND_VIEW);
  for (const name of ["../../outside", "/tmp/outside", "a/../../b", "C:\\x", "a/data/../0"]) {
    yield [
      `member ${name}`,
      await archive([["a/data.pkl", sound], [name, STORAGE]]),
    ];
    yield [
      `storage ${name}`,
      await archive([["a/data.pkl", tensorPickle(SOUND_VIEW, name)], ["a/data/0", STORAGE]]),
    ];
  }
  yield ["bomb in a record", await archive([["a/data.pkl", sound], ["a/data/0", BOMB()]], 1)];
  yield ["bomb as the pickle", await archive([["a/data.pkl", BOMB()]], 1)];
  yield ["two pickles", await archive([["a/data.pkl", sound], ["b/data.pkl", sound]])];
  yield ["no pickle", await archive([["a/data/0", STORAGE]])];
  yield ["big endian", await archive([["a/data.pkl", sound], ["a/byteorder", text("big")]])];
}

/** 66 MiB of zeros: more than an archive of some kilobytes may become. */
const BOMB = (): Uint8Array => new Uint8Array(66 * 2 ** 20);

/** What stands in front of the content of an old file. */
const LEGACY_HEAD = "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";

function* hostileLegacy(): Generator<readonly [string, Uint8Array<ArrayBuffer>]> {
  for (const [i, call] of CALLS.entries()) {
    for (const [module, name] of FUNCTIONS) {
      yield [
        `call ${i} of ${module}.${name}`,
        joined(LEGACY_HEAD, call(module, name), "\x80\x02]."),
      ];
      yield [`call ${i} of ${module}.${name} in front`, joined(call(module, name))];
    }
  }
  for (const [i, greedy] of GREEDY.entries()) {
    yield [`greedy pickle ${i}`, joined(LEGACY_HEAD, greedy(), "\x80\x02].")];
  }
  const keys = "\x80\x02]X\x01\0\0\x000a.";
  const storage = joined("\x04\0\0\0\0\0\0\0", STORAGE);
  for (const [i, view] of SHAPES.entries()) {
    yield [`tensor ${i}`, joined(LEGACY_HEAD, tensorPickle(view), keys, storage)];
  }
  const sound = tensorPickle(SOUND_VIEW);
  yield ["no keys", joined(LEGACY_HEAD, sound, "\x80\x02].", storage)];
  yield ["short storage", joined(LEGACY_HEAD, sound, keys, storage.subarray(0, 20))];
  yield [
    "other length",
    joined(LEGACY_HEAD, sound, keys, "\xff\xff\xff\xff\xff\xff\xff\x7f", STORAGE),
  ];
}

function* hostileSafetensors(): Generator<readonly [string, Uint8Array<ArrayBuffer>]> {
  const file = (header: string, data = STORAGE): Uint8Array<ArrayBuffer> => {
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
    return joined(length, header, data);
  };
  const entry = (fields: string): string => `{"w":{"dtype":"F32",${fields}}}`;
  for (
    const fields of [
      '"shape":[4],"data_offsets":[0,1e300]',
      '"shape":[-4],"data_offsets":[0,16]',
      '"shape":[9007199254740991,9007199254740991],"data_offsets":[0,16]',
      '"shape":[4],"data_offsets":[16,0]',
      '"shape":[8],"data_offsets":[0,32]',
      '"shape":"4","data_offsets":[0,16]',
      '"shape":[4]',
    ]
  ) yield [`entry ${fields}`, file(entry(fields))];
  yield ["no object", file("[]")];
  yield ["deep", file("[".repeat(50_000))];
  yield [
    "two over one",
    file(
      '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    ),
  ];
  yield ["length", joined("\xff\xff\xff\xff\xff\xff\xff\x7f{}")];
}

/** Opcodes, right and wrong ones, in any order. */
function soup(number: number): Uint8Array {
  const draw = (i: number): number => mix32(mix32(number + 1) ^ mix32(i));
  const opcodes = "N]}(lt)\x85\x86\x87ase01qh\x94RbQ\x81\x93KJX\x8c.c";
  const length = 4 + draw(0) % 60;
  const bytes = Array.from(
    { length },
    (_, i) =>
      draw(2 * i + 1) % 8 === 0
        ? draw(2 * i + 2) & 0xff
        : opcodes.charCodeAt(draw(2 * i + 2) % opcodes.length),
  );
  return joined("\x80\x02", Uint8Array.from(bytes), ".");
}

/**
 * Makes damaged copies of a good file and hostile files of its kind.
 *
 * @param kind The kind.
 * @param good A good file.
 * @param count How many of each kind of damage, and of random pickles.
 * @returns The files, one at a time.
 */
export async function* hostileFiles(
  kind: CheckpointKind,
  good: Uint8Array,
  count: number,
): AsyncGenerator<HostileFile> {
  const length: LengthField = kind === "safetensors" ? { at: 0, bytes: 8 } : {};
  for (const damage of DAMAGES) {
    for (let number = 0; number < count; number++) {
      const bytes = corrupted(good, damage, { number, length });
      yield { what: `${damage} ${number}`, bytes, refused: false };
    }
  }
  const whole = { zip: hostileArchives, legacy: hostileLegacy, safetensors: hostileSafetensors };
  for await (const [what, bytes] of whole[kind]()) yield { what, bytes, refused: true };
  for (let number = 0; kind !== "safetensors" && number < count; number++) {
    const pickle = soup(number);
    const bytes = kind === "zip"
      ? await archive([["a/data.pkl", pickle]])
      : joined(LEGACY_HEAD, pickle, "\x80\x02].");
    yield { what: `random pickle ${number}`, bytes, refused: false };
  }
}

/**
 * Gives a good safetensors file.
 *
 * @returns Its bytes.
 */
export function goodSafetensors(): Promise<Uint8Array<ArrayBuffer>> {
  return encodeSafetensors([
    { name: "a", dtype: "F32", shape: [3, 2], data: new Float32Array(6).fill(1.5) },
    { name: "b", dtype: "BF16", shape: [5], data: new Uint16Array(5).fill(0x3f80) },
    { name: "c", dtype: "I64", shape: [], data: new BigInt64Array([7n]) },
  ], { metadata: { note: "x" } });
}
