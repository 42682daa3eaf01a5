/** Tests of combining chunks: order, refusals, damaged files. @module */

import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { Uint8ArrayReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import { corrupted, DAMAGES } from "../../tests/corrupt.ts";
import { UserError } from "../errors.ts";
import { formatNpyHeader } from "../files/npy.ts";
import { NpzReader, writeNpz } from "../files/npz.ts";
import { Reporter } from "../log.ts";
import { combineChunks } from "./combine.ts";

const ignore = (await Deno.permissions.query({ name: "write" })).state !== "granted";

const SIZES = [4, 5, 3] as const;
const IMAGE_BYTES = 4 * 5 * 3;

/** Images whose bytes all are their number. */
function images(first: number, count: number): Uint8Array {
  return Uint8Array.from(
    { length: count * IMAGE_BYTES },
    (_, i) => first + Math.floor(i / IMAGE_BYTES),
  );
}

async function writeChunk(path: string, first: number, count: number): Promise<void> {
  const data = [images(first, count)];
  await writeNpz(path, [{ name: "arr_0", dtype: "|u1", shape: [count, ...SIZES], data }]);
}

async function writeCompressed(path: string, first: number, count: number): Promise<void> {
  const header = formatNpyHeader({ dtype: "|u1", shape: [count, ...SIZES] });
  const writer = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
  const content = new Uint8Array([...header, ...images(first, count)]);
  await writer.add("arr_0.npy", new Uint8ArrayReader(content));
  await Deno.writeFile(path, await writer.close());
}

/** The numbers of the images of a file. */
async function numbersOf(path: string): Promise<number[]> {
  using file = await NpzReader.open(path);
  const { dtype, shape } = file.entry("arr_0");
  assertEquals([dtype, ...shape.slice(1)], ["|u1", ...SIZES]);
  const bytes = await file.bytes("arr_0");
  return Array.from({ length: shape[0] ?? 0 }, (_, i) => {
    const image = bytes.subarray(i * IMAGE_BYTES, (i + 1) * IMAGE_BYTES);
    assert(image.every((byte) => byte === image[0]), "an image is mixed of two");
    return image[0] ?? -1;
  });
}

async function combine(folder: string, seed = 0): Promise<string[]> {
  const lines: string[] = [];
  const reporter = new Reporter({ writeLine: (line) => lines.push(line) });
  await combineChunks({ folder, seed, reporter });
  return lines;
}

function test(name: string, body: (folder: string) => Promise<void>): void {
  Deno.test({
    name,
    ignore,
    fn: async () => {
      const folder = await Deno.makeTempDir({ prefix: "tessera-" });
      try {
        await body(folder);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

test("combine shuffles every image of every chunk once, by the seed alone", async (folder) => {
  await writeChunk(`${folder}/samples_0.npz`, 0, 40);
  await writeCompressed(`${folder}/samples_1.npz`, 40, 25);
  await writeChunk(`${folder}/samples_2.npz`, 65, 0);
  await writeChunk(`${folder}/samples_10.npz`, 65, 35);
  const lines = await combine(folder);
  assert(lines.includes("100 images"));
  assert(lines.some((line) => line.startsWith("warning: chunk 3, 4, 5, 6, 7 of the samples is")));
  const order = await numbersOf(`${folder}/sample.npz`);
  const sorted = Array.from({ length: 100 }, (_, i) => i);
  assertEquals(order.toSorted((a, b) => a - b), sorted);
  assertNotEquals(order, sorted);
  // A second run does not take the first one's result for a chunk.
  await combine(folder);
  assertEquals(await numbersOf(`${folder}/sample.npz`), order);
  await combine(folder, 1);
  assertNotEquals(await numbersOf(`${folder}/sample.npz`), order);
  const names = Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
  assertEquals(names, [
    "sample.npz",
    "samples_0.npz",
    "samples_1.npz",
    "samples_10.npz",
    "samples_2.npz",
  ]);
});

test("combine refuses folders without chunks, other arrays and images of several sizes", async (folder) => {
  await assertRejects(() => combine(`${folder}/none`), UserError, "no such file or folder");
  await assertRejects(() => combine(folder), UserError, "found no file that ends in .npz");
  await writeChunk(`${folder}/samples_0.npz`, 0, 3);
  const other = `${folder}/samples_1.npz`;
  const data = [new Uint8Array(2 * 4 * 6 * 3)];
  await writeNpz(other, [{ name: "arr_0", dtype: "|u1", shape: [2, 4, 6, 3], data }]);
  await assertRejects(
    () => combine(folder),
    UserError,
    `Cannot combine ${other}: expected images of shape (images, 4, 5, 3) as in the first file, found (images, 4, 6, 3)`,
  );
  await writeNpz(other, [{ name: "arr_0", dtype: "<f2", shape: [1, 4, 6, 3], data }]);
  await assertRejects(() => combine(folder), UserError, "expected arr_0 to be |u1");
  await writeNpz(other, [{ name: "images", dtype: "|u1", shape: [2, 4, 6, 3], data }]);
  await assertRejects(() => combine(folder), UserError, "expected an array arr_0, found images");
});

test("combine answers 60 corruptions of a chunk with a clear error or the same images", async (folder) => {
  const path = `${folder}/samples_1.npz`;
  const result = `${folder}/sample.npz`;
  await writeChunk(`${folder}/samples_0.npz`, 0, 3);
  for (const write of [writeChunk, writeCompressed]) {
    await write(path, 3, 4);
    const bytes = await Deno.readFile(path);
    await combine(folder);
    const want = await numbersOf(result);
    let refused = 0;
    for (let number = 0; number < 30; number++) {
      const damage = DAMAGES[number % DAMAGES.length]!;
      await Deno.writeFile(path, corrupted(bytes, damage, { number }));
      await Deno.writeTextFile(result, "the one before");
      try {
        await combine(folder);
        // What no reader looks at, dates and padding, may be damaged without effect.
        assertEquals(await numbersOf(result), want, `${damage} ${number}`);
      } catch (error) {
        assert(error instanceof UserError, `${damage} ${number}: ${error}`);
        assertEquals(await Deno.readTextFile(result), "the one before");
        refused++;
      }
      const names = Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
      assertEquals(names, ["sample.npz", "samples_0.npz", "samples_1.npz"]);
    }
    assert(refused > 15, `${refused} of 30 refused`);
  }
});
