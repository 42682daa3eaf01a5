/** Tests of `.npz` files: NumPy's own files, round trips, hostile archives. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Uint8ArrayReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import { corrupted, DAMAGES } from "../../tests/corrupt.ts";
import { UserError } from "../errors.ts";
import { formatNpyHeader, type NpyArray, parseNpyHeader } from "./npy.ts";
import { NpzReader, writeNpz } from "./npz.ts";

const ignore = (await Deno.permissions.query({ name: "write" })).state !== "granted";

// Written by NumPy 2.4.6: savez(arange(24, uint8) of shape (2, 3, 4), [1, -2, 3]); savez_compressed(arr_0 = linspace(0,
// 1, 6, float32) of shape (2, 3), s = float64(3.5)); savez_compressed(an array in Fortran's order); and one of objects.
const STORED =
  "UEsDBC0AAAAAAAAAIQBErVeC//////////8JABQAYXJyXzAubnB5AQAQAJgAAAAAAAAAmAAAAAAAAACTTlVNUFkBAHYAeydkZXNjcic6ICd8dTEnLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMiwgMywgNCksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgCgABAgMEBQYHCAkKCwwNDg8QERITFBUWF1BLAwQtAAAAAAAAACEAdKjzMP//////////CQAUAGFycl8xLm5weQEAEACYAAAAAAAAAJgAAAAAAAAAk05VTVBZAQB2AHsnZGVzY3InOiAnPGk4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDMsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAAAAAAAAAP7/////////AwAAAAAAAABQSwECLQMtAAAAAAAAACEARK1XgpgAAACYAAAACQAAAAAAAAAAAAAAgAEAAAAAYXJyXzAubnB5UEsBAi0DLQAAAAAAAAAhAHSo8zCYAAAAmAAAAAkAAAAAAAAAAAAAAIAB0wAAAGFycl8xLm5weVBLBQYAAAAAAgACAG4AAACmAQAAAAA=";
const DEFLATED =
  "UEsDBC0AAAAIAAAAIQD9z32E//////////8JABQAYXJyXzAubnB5AQAQAJgAAAAAAAAAXAAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBuk2airqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOgrGmjoKtQpkAy4GIDh7xsfu7JkzdrNmStoD2fYMDA32AFBLAwQtAAAACAAAACEAPT7jW///////////BQAUAHMubnB5AQAQAIgAAAAAAAAARwAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBuk2ahrqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RqaOgq1ChQBLgYw4HEAAFBLAQItAy0AAAAIAAAAIQD9z32EXAAAAJgAAAAJAAAAAAAAAAAAAACAAQAAAABhcnJfMC5ucHlQSwECLQMtAAAACAAAACEAPT7jW0cAAACIAAAABQAAAAAAAAAAAAAAgAGXAAAAcy5ucHlQSwUGAAAAAAIAAgBqAAAAFQEAAAAA";
const FORTRAN =
  "UEsDBC0AAAAIAAAAIQD3O3gU//////////8JABQAYXJyXzAubnB5AQAQALAAAAAAAAAAVQAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBuk2mhrqOgnpZfVFKUmBefX5SSChIPKSpNBQoXZyQWpAK5GkY6CsaaOgq1CuQDLgYoYIbSjFCaBUozQWlWKA0AUEsBAi0DLQAAAAgAAAAhAPc7eBRVAAAAsAAAAAkAAAAAAAAAAAAAAIABAAAAAGFycl8wLm5weVBLBQYAAAAAAQABADcAAACQAAAAAAA=";
const OBJECTS =
  "UEsDBC0AAAAIAAAAIQAK9Ox6//////////8JABQAYXJyXzAubnB5AQAQABYBAAAAAAAAxAAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBe46+uo6Cell9UUpSYF59flJIKEnZLzClOBYoXZyQWpAL5GoY6mjoKtQqUAK4GlqndDBDQI5ZXmltQqRefnF+UqpdbmlOSmVhUlFg5pYcnvig1OT+vuKSoNLlkyuQpPaxglVN62PNSIEomT/FmaJ3izJg0pX1K0BQNb0ZvxtYpGcw9rCkllQWpIC1M/hZTOjsgssw9jDVT/Pz8vP4DAZjwti+ZktQZO6V2SiKQoQcAUEsBAi0DLQAAAAgAAAAhAAr07HrEAAAAFgEAAAkAAAAAAAAAAAAAAIABAAAAAGFycl8wLm5weVBLBQYAAAAAAQABADcAAAD/AAAAAAA=";

function decoded(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Runs a test body with a path in a temporary folder. */
async function withPath(body: (path: string, folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "tessera-" });
  try {
    await body(`${folder}/a.npz`, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function assertRefused(path: string, content: Uint8Array, includes: string): Promise<void> {
  await Deno.writeFile(path, content);
  await assertRejects(() => readAll(path), UserError, includes);
}

async function readAll(path: string): Promise<Record<string, Uint8Array>> {
  using file = await NpzReader.open(path);
  const arrays: Record<string, Uint8Array> = {};
  for (const name of file.entries.keys()) arrays[name] = await file.bytes(name);
  return arrays;
}

/** A compressed archive of one member. */
async function archive(name: string, content: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const writer = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
  await writer.add(name, new Uint8ArrayReader(content));
  return new Uint8Array(await writer.close());
}

/** A header, then zeros. */
function zeros(array: NpyArray, dataBytes: number): Uint8Array {
  const header = formatNpyHeader(array);
  const content = new Uint8Array(header.length + dataBytes);
  content.set(header);
  return content;
}

Deno.test({
  name: "NpzReader reads what NumPy wrote, stored and compressed",
  ignore,
  fn: () =>
    withPath(async (path) => {
      await Deno.writeFile(path, decoded(STORED));
      {
        using file = await NpzReader.open(path);
        const images = file.entry("arr_0");
        assertEquals([images.dtype, images.shape], ["|u1", [2, 3, 4]]);
        assertEquals(await file.bytes("arr_0"), Uint8Array.from({ length: 24 }, (_, i) => i));
        const start = images.startByte ?? 0;
        assertEquals([...decoded(STORED).subarray(start, start + 3)], [0, 1, 2]);
        const labels = new BigInt64Array((await file.bytes("arr_1")).buffer);
        assertEquals([...labels], [1n, -2n, 3n]);
        await assertRejects(
          () => file.bytes("images"),
          UserError,
          `Cannot read ${path}: expected an array images, found arr_0, arr_1`,
        );
      }
      await Deno.writeFile(path, decoded(DEFLATED));
      using file = await NpzReader.open(path);
      const { dtype, shape, startByte } = file.entry("arr_0");
      assertEquals([dtype, shape, startByte], ["<f4", [2, 3], null]);
      const values = new Float32Array((await file.bytes("arr_0")).buffer);
      assertEquals(values, Float32Array.of(0, 0.2, 0.4, 0.6, 0.8, 1));
      assertEquals(file.entry("s").shape, []);
      assertEquals([...new Float64Array((await file.bytes("s")).buffer)], [3.5]);
    }),
});

Deno.test({
  name: "writeNpz() writes chunk by chunk, always the same bytes, and NpzReader gives them back",
  ignore,
  fn: () =>
    withPath(async (path) => {
      const rows = Array.from({ length: 5 }, (_, i) => new Uint8Array(300_000).fill(i + 1));
      const labels = new Uint8Array(BigInt64Array.of(5n, 4n, 3n, 2n, 1n).buffer);
      const write = (): Promise<number> =>
        writeNpz(path, [
          { name: "arr_0", dtype: "|u1", shape: [5, 100, 1000, 3], data: rows },
          {
            name: "arr_1",
            dtype: "<i8",
            shape: [5],
            data: [labels.subarray(0, 9), labels.subarray(9)],
          },
        ]);
      const size = await write();
      const first = await Deno.readFile(path);
      assertEquals(first.length, size);
      await write();
      assertEquals(await Deno.readFile(path), first);
      using file = await NpzReader.open(path);
      const { startByte } = file.entry("arr_0");
      assertEquals(first[(startByte ?? 0) + 300_000], 2);
      let seen = 0;
      let largest = 0;
      for await (const chunk of file.chunks("arr_0")) {
        assertEquals(chunk[0], 1 + Math.floor(seen / 300_000));
        seen += chunk.length;
        largest = Math.max(largest, chunk.length);
      }
      assertEquals(seen, 1_500_000);
      assert(largest <= 2 ** 20, `a chunk of ${largest} bytes`);
      assertEquals(await file.bytes("arr_1"), labels);
    }),
});

Deno.test({
  name: "writeNpz() rejects data of another length and leaves the old file alone",
  ignore,
  fn: () =>
    withPath(async (path, folder) => {
      await Deno.writeTextFile(path, "old");
      for (const length of [3, 5]) {
        const data = [new Uint8Array(length)];
        await assertRejects(
          () => writeNpz(path, [{ name: "a", dtype: "|u1", shape: [4], data }]),
          TypeError,
          "Cannot write array a: expected 4 bytes",
        );
      }
      const failing = (function* () {
        yield new Uint8Array(1);
        throw new Error("the source broke");
      })();
      await assertRejects(
        () => writeNpz(path, [{ name: "a", dtype: "|u1", shape: [4], data: failing }]),
        Error,
        "the source broke",
      );
      assertEquals(await Deno.readTextFile(path), "old");
      assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["a.npz"]);
    }),
});

Deno.test({
  name: "NpzReader refuses hostile archives with a clear error, without unpacking them",
  ignore,
  fn: () =>
    withPath(async (path, folder) => {
      await assertRefused(path, decoded(FORTRAN), "found Fortran's order");
      await assertRefused(path, decoded(OBJECTS), "expected one of the element types |b1 |u1");
      await assertRefused(path, new Uint8Array(), `Cannot read ${path}: `);
      await assertRefused(path, new TextEncoder().encode("no archive"), "undamaged npz file");
      const small: NpyArray = { dtype: "|u1", shape: [4] };
      for (const name of ["../../outside.npy", "/tmp/outside.npy", "a/../../b.npy", "C:\\x.npy"]) {
        await assertRefused(path, await archive(name, zeros(small, 4)), "Unsafe filename");
      }
      await assertRefused(path, await archive("notes.txt", new Uint8Array(4)), "notes.txt");
      // A bomb that says what it is, and one whose directory claims the right length.
      const bomb = await archive("arr_0.npy", zeros(small, 2 ** 24));
      await assertRefused(path, bomb, "expected the 4 bytes of the shape (4) in array arr_0");
      const lying = bomb.slice();
      const directory = new DataView(lying.buffer);
      const at = lying.findLastIndex((_, i) =>
        directory.getUint32(Math.min(i, lying.length - 4), true) === 0x02014b50
      );
      directory.setUint32(at + 24, 128 + 4, true);
      await assertRefused(path, lying, `Cannot read ${path}: `);
      const huge = await archive(
        "arr_0.npy",
        zeros({ dtype: "<f8", shape: [2 ** 30, 2 ** 30] }, 8),
      );
      await assertRefused(path, huge, "expected a shape that fits a file");
      assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["a.npz"]);
      await assertRejects(() => NpzReader.open(`${path}x`), UserError, "no such file");
      await assertRejects(() => NpzReader.open(folder), UserError, "it is a folder");
    }),
});

Deno.test("parseNpyHeader() reads other versions and refuses what is no header", () => {
  const header = formatNpyHeader({ dtype: "<f4", shape: [7] });
  assertEquals(parseNpyHeader(header, "a"), { dtype: "<f4", shape: [7], dataStart: 128 });
  const second = new Uint8Array(header.length + 2);
  second.set(header.subarray(0, 10));
  second.set(header.subarray(10), 12);
  second[6] = 2;
  assertEquals(parseNpyHeader(second, "a"), { dtype: "<f4", shape: [7], dataStart: 130 });
});

Deno.test({
  name: "NpzReader answers 200 corruptions of each kind with a clear error or the same arrays",
  ignore,
  fn: () =>
    withPath(async (path, folder) => {
      for (const base64 of [STORED, DEFLATED]) {
        const bytes = decoded(base64);
        await Deno.writeFile(path, bytes);
        const want = await readAll(path);
        for (const damage of DAMAGES) {
          let refused = 0;
          for (let number = 0; number < 200; number++) {
            await Deno.writeFile(path, corrupted(bytes, damage, { number }));
            try {
              // What no reader looks at (dates, attributes, padding) may be damaged without effect.
              const found = await readAll(path);
              for (const [name, data] of Object.entries(found)) {
                if (name in want) assertEquals(data, want[name], `${damage} ${number}`);
              }
            } catch (error) {
              if (!(error instanceof UserError)) throw error;
              assert(error.message.startsWith("Cannot read "), error.message);
              refused++;
            }
          }
          assert(refused >= 120, `${damage}: ${refused} of 200 refused`);
        }
      }
      assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["a.npz"]);
    }),
});
