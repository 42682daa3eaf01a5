/** Tests of `.npz` files of images as data sets. @module */

import { assertEquals, assertRejects } from "@std/assert";
import { Uint8ArrayReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import { patternImage, withFolder } from "../../tests/images.ts";
import { UserError } from "../errors.ts";
import { formatNpyHeader } from "../files/npy.ts";
import { type NpzSource, writeNpz } from "../files/npz.ts";
import { samplesToUnit } from "../image/resize.ts";
import type { Dataset } from "./dataset.ts";
import { type NpzImagesOptions, openNpzImages } from "./npz_images.ts";
import { cutSquare } from "./prepare.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "write" })).state !== "granted";

const SIZE = { width: 11, height: 9 };
const IMAGES = Array.from({ length: 20 }, (_, i) => patternImage(SIZE, i));
const images: NpzSource = {
  name: "arr_0",
  dtype: "|u1",
  shape: [20, 9, 11, 3],
  data: IMAGES.map((image) => image.pixels),
};

function open(path: string, options: Partial<NpzImagesOptions> = {}): Promise<Dataset> {
  const warn = (message: string): void => {
    throw new Error(message);
  };
  return openNpzImages(path, {
    resolution: 8,
    split: "all",
    workers: 0,
    cacheDirectory: null,
    warn,
    ...options,
  });
}

async function assertImages(dataset: Dataset): Promise<void> {
  const indices = [19, 0, 7];
  const loaded = await dataset.load(indices);
  for (const [slot, index] of indices.entries()) {
    const want = samplesToUnit(
      cutSquare(IMAGES[index] ?? patternImage(SIZE, 0), { resolution: 8 }),
    );
    assertEquals(loaded.images.slice(slot * 192, (slot + 1) * 192), want);
  }
}

Deno.test({
  name: "openNpzImages() reads images where they lie, and classes if there are any",
  ignore,
  fn: () =>
    withFolder({}, async (f) => {
      const path = `${f}/a.npz`;
      await writeNpz(path, [images]);
      {
        using dataset = await open(path);
        assertEquals([dataset.length, dataset.classNames, dataset.label(3)], [20, ["0"], 0]);
        assertEquals(dataset.name(3), "arr_0/3");
        await assertImages(dataset);
      }
      using train = await open(path, { split: "train" });
      using validation = await open(path, { split: "validation" });
      assertEquals(train.length + validation.length, 20);
      const labels = new Uint8Array(
        BigInt64Array.from({ length: 20 }, (_, i) => BigInt(i % 3)).buffer,
      );
      await writeNpz(path, [images, { name: "arr_1", dtype: "<i8", shape: [20], data: [labels] }]);
      using labeled = await open(path);
      assertEquals([labeled.classNames, labeled.label(5)], [["0", "1", "2"], 2]);
    }),
});

Deno.test({
  name: "openNpzImages() unpacks a compressed file once into the cache",
  ignore,
  fn: () =>
    withFolder({}, async (f) => {
      const path = `${f}/a.npz`;
      const writer = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
      const content = new Uint8Array(
        await new Blob([formatNpyHeader(images), ...IMAGES.map((i) => new Uint8Array(i.pixels))])
          .arrayBuffer(),
      );
      await writer.add("arr_0.npy", new Uint8ArrayReader(content));
      await Deno.writeFile(path, await writer.close());
      await assertRejects(() => open(path), UserError, "expected them uncompressed");
      using dataset = await open(path, { cacheDirectory: `${f}/cache` });
      await assertImages(dataset);
      using again = await open(path, { cacheDirectory: `${f}/cache` });
      await assertImages(again);
      assertEquals([...Deno.readDirSync(`${f}/cache/npz`)].length, 1);
    }),
});

Deno.test({
  name: "openNpzImages() refuses other arrays by type and shape",
  ignore,
  fn: () =>
    withFolder({}, async (f) => {
      const path = `${f}/a.npz`;
      const refused = async (arrays: readonly NpzSource[], includes: string): Promise<void> => {
        await writeNpz(path, arrays);
        await assertRejects(() => open(path), UserError, includes);
      };
      const data = [new Uint8Array(24)];
      await refused([{ name: "a", dtype: "|u1", shape: [24], data }], "expected an array arr_0");
      await refused([{ ...images, dtype: "<f4", shape: [1, 1, 2, 3], data }], "found <f4");
      await refused([{ ...images, shape: [2, 3, 2, 2], data }], "found |u1 and (2, 3, 2, 2)");
      const labels = { name: "arr_1", dtype: "<f4", shape: [6], data } as const;
      await refused(
        [images, labels],
        "expected arr_1 of 20 whole numbers under 1048576, found <f4",
      );
      const negative = [new Uint8Array(Int32Array.from({ length: 20 }, (_, i) => -i).buffer)];
      await refused([images, { ...labels, dtype: "<i4", shape: [20], data: negative }], "found -1");
    }),
});
