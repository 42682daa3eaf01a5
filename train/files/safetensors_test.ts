/** Tests of safetensors files: round trips, strict checks, hostile bytes. @module */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { corrupted, DAMAGES } from "../../tests/corrupt.ts";
import { UserError } from "../errors.ts";
import {
  encodeSafetensors,
  SafetensorsReader,
  type TensorSource,
  writeSafetensors,
} from "./safetensors.ts";

const ignoreFiles = (await Deno.permissions.query({ name: "write" })).state !== "granted";

const tensors: readonly TensorSource[] = [
  { name: "b.u8", dtype: "U8", shape: [3], data: new Uint8Array([1, 2, 255]) },
  { name: "a.f32", dtype: "F32", shape: [2, 2], data: new Float32Array([1, -2, 0.5, NaN]) },
  { name: "half", dtype: "F16", shape: [2], data: new Float16Array([0.5, 65504]) },
  { name: "brain", dtype: "BF16", shape: [2], data: new Uint16Array([0x3f80, 0xc000]) },
  { name: "i32", dtype: "I32", shape: [], data: () => new Int32Array([-7]) },
  { name: "u32", dtype: "U32", shape: [1], data: new Uint32Array([7]) },
  { name: "u16", dtype: "U16", shape: [2], data: new Uint16Array([1, 65535]) },
  { name: "i64", dtype: "I64", shape: [2], data: new BigInt64Array([-1n, 2n]) },
  { name: "empty", dtype: "F32", shape: [0, 5], data: new Float32Array(0) },
];

/** A file with any header, right or wrong. */
function fileOf(header: unknown, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

async function assertMalformed(bytes: Uint8Array, problem: string): Promise<void> {
  const error = await assertRejects(() => SafetensorsReader.fromBytes(bytes, "x"), UserError);
  assert(error.message.startsWith("Cannot read x: "), error.message);
  assert(error.message.includes(problem), `${error.message} should include ${problem}`);
}

async function assertContent(file: SafetensorsReader): Promise<void> {
  assertEquals(await file.float32("a.f32"), new Float32Array([1, -2, 0.5, NaN]));
  assertEquals(file.entry("a.f32").shape, [2, 2]);
  assertEquals(await file.float32("half"), new Float32Array([0.5, 65504]));
  assertEquals(await file.float32("brain"), new Float32Array([1, -2]));
  assertEquals(await file.int32("i32"), new Int32Array([-7]));
  assertEquals(await file.int32("u32"), new Int32Array([7]));
  assertEquals(await file.int32("u16"), new Int32Array([1, 65535]));
  assertEquals(await file.int32("i64"), new Int32Array([-1, 2]));
  assertEquals(await file.int32("b.u8"), new Int32Array([1, 2, 255]));
  assertEquals(await file.float32("empty"), new Float32Array(0));
  assertEquals(await file.bytes("b.u8", 1, 2), new Uint8Array([2, 255]));
  assertEquals([...file.metadata], [["a", "1"], ["z", "ü"]]);
}

Deno.test("encodeSafetensors() and SafetensorsReader agree for every dtype", async () => {
  const bytes = await encodeSafetensors(tensors, { metadata: { z: "ü", a: "1" } });
  using file = await SafetensorsReader.fromBytes(bytes);
  await assertContent(file);
  assertEquals(file.has("half") && !file.has("none"), true);
});

Deno.test("encodeSafetensors() gives the same bytes for any order and aligns each tensor", async () => {
  const bytes = await encodeSafetensors(tensors, { metadata: { z: "ü", a: "1" } });
  const reversed = await encodeSafetensors(tensors.toReversed(), { metadata: { a: "1", z: "ü" } });
  assertEquals(reversed, bytes);
  using file = await SafetensorsReader.fromBytes(bytes);
  assertEquals([...file.entries.keys()].at(0), "i64");
  for (const { name, startByte, lengthBytes, shape } of file.entries.values()) {
    const elements = shape.reduce((product, size) => product * size, 1);
    assert(elements === 0 || startByte % (lengthBytes / elements) === 0, name);
  }
});

Deno.test("encodeSafetensors() rejects a wrong number of values and a repeated name", async () => {
  const data = new Float32Array(3);
  await assertRejects(
    () => encodeSafetensors([{ name: "w", dtype: "F32", shape: [2], data }]),
    TypeError,
    "Cannot write tensor w: expected 8 bytes for F32 of shape [2], found 12",
  );
  const twice: TensorSource = { name: "w", dtype: "F32", shape: [3], data };
  await assertRejects(() => encodeSafetensors([twice, twice]), RangeError, "name of its own");
});

Deno.test("SafetensorsReader names the tensor that is missing or of another dtype", async () => {
  using file = await SafetensorsReader.fromBytes(await encodeSafetensors(tensors), "m");
  await assertRejects(() => file.float32("w"), UserError, "Cannot read m: expected a tensor w");
  await assertRejects(() => file.float32("i32"), UserError, "expected F32, F16 or BF16, found I32");
  await assertRejects(() => file.int32("half"), UserError, "found F16");
  const large: TensorSource = {
    name: "l",
    dtype: "I64",
    shape: [1],
    data: BigInt64Array.of(1n << 40n),
  };
  using other = await SafetensorsReader.fromBytes(await encodeSafetensors([large]));
  await assertRejects(() => other.int32("l"), UserError, "expected values of 32 bits");
});

Deno.test("SafetensorsReader says what is wrong with a header", async () => {
  const good: Record<string, unknown> = JSON.parse(
    '{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}',
  );
  await assertMalformed(new Uint8Array(5), "at least 8 bytes, found 5");
  await assertMalformed(new Uint8Array(8), "not a safetensors file");
  await assertMalformed(
    new TextEncoder().encode("PK\x03\x04 a zip file"),
    "not a safetensors file",
  );
  await assertMalformed(fileOf("[1, 2]", 0), "JSON object");
  await assertMalformed(fileOf('{"a": ', 0), "JSON object");
  await assertMalformed(fileOf("[".repeat(200_000), 0), "JSON object");
  await assertMalformed(fileOf({ __metadata__: { a: 1 } }, 0), "expected a text, found 1");
  await assertMalformed(fileOf({ w: [] }, 0), 'tensor "w": expected an object');
  await assertMalformed(fileOf({ w: { ...good, dtype: "F8_E4M3" } }, 8), 'found "F8_E4M3"');
  await assertMalformed(fileOf({ w: { ...good, dtype: "toString" } }, 8), 'found "toString"');
  await assertMalformed(fileOf({ w: { ...good, shape: [-2] } }, 8), "whole numbers");
  await assertMalformed(fileOf({ w: { ...good, shape: [3] } }, 8), "expected 12 bytes");
  await assertMalformed(fileOf({ w: { ...good, shape: [2 ** 40, 2 ** 40] } }, 8), "found 8");
  await assertMalformed(fileOf({ w: { ...good, data_offsets: [8, 0] } }, 8), "increasing");
  await assertMalformed(fileOf({ w: { ...good, data_offsets: [0] } }, 8), "two data offsets");
  await assertMalformed(
    fileOf({ w: good, v: { ...good, data_offsets: [4, 12] } }, 12),
    "to start at byte",
  );
  await assertMalformed(
    fileOf({ w: good, v: { ...good, data_offsets: [12, 20] } }, 20),
    "to start at byte",
  );
  await assertMalformed(fileOf({ w: good }, 7), "found");
  await assertMalformed(fileOf({ w: good }, 9), "expected a file of");
});

Deno.test("SafetensorsReader answers 600 corruptions with a clear error or the other values", async () => {
  const bytes = await encodeSafetensors(tensors, { metadata: { a: "1" } });
  const startMs = performance.now();
  let rejected = 0;
  for (let number = 0; number < 200; number++) {
    for (const damage of DAMAGES) {
      const length = { at: 0, bytes: 8 };
      try {
        using file = await SafetensorsReader.fromBytes(
          corrupted(bytes, damage, { number, length }),
          "x",
        );
        for (const name of file.entries.keys()) await file.bytes(name);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        assert(error.message.startsWith("Cannot read x: "), error.message);
        rejected++;
      }
    }
  }
  assert(rejected > 450, `${rejected} of 600 rejected`);
  assert(performance.now() - startMs < 5000, "a corruption made the reader slow");
});

Deno.test({
  name: "writeSafetensors() and SafetensorsReader.open() agree through a file",
  ignore: ignoreFiles,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/m.safetensors`;
      const sizeBytes = await writeSafetensors(path, tensors, { metadata: { z: "ü", a: "1" } });
      assertEquals((await Deno.stat(path)).size, sizeBytes);
      {
        using file = await SafetensorsReader.open(path);
        await assertContent(file);
        const names = ["a.f32", "half", "brain", "empty"];
        const values = await Promise.all(names.map((name) => file.float32(name)));
        assertEquals(values.map((value) => value.length), [4, 2, 2, 0]);
      }
      {
        using file = await SafetensorsReader.open(path);
        await Deno.truncate(path, sizeBytes - 1);
        await assertRejects(() => file.bytes("b.u8"), UserError, "the file is cut short");
      }
      const problem = `Cannot read ${path}: expected a file of ${sizeBytes} bytes, found`;
      await assertRejects(() => SafetensorsReader.open(path), UserError, problem);
      await assertRejects(() => SafetensorsReader.open(folder), UserError, "it is a folder");
      await assertRejects(() => SafetensorsReader.open(`${path}x`), UserError, "no such file");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
