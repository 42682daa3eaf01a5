/** Tests of image folders: layouts, splits, broken files, workers. @module */

import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { encodeJpeg, patternImage, withFolder } from "../../tests/images.ts";
import { UserError } from "../errors.ts";
import { encodePng } from "../image/codec.ts";
import type { Dataset } from "./dataset.ts";
import { type ImageFolderOptions, openImageFolder } from "./folder.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "write" })).state !== "granted";
const ignoreLinks = ignore || Deno.build.os === "windows";

function failOnWarning(message: string): void {
  throw new Error(message);
}

function open(folder: string, options: Partial<ImageFolderOptions> = {}): Dataset {
  return openImageFolder(folder, {
    resolution: 8,
    split: "train",
    warn: failOnWarning,
    workers: 0,
    ...options,
  });
}

function names(dataset: Dataset): string[] {
  return Array.from({ length: dataset.length }, (_, i) => dataset.name(i));
}

function all(dataset: Dataset): number[] {
  return Array.from({ length: dataset.length }, (_, i) => i);
}

/** Files "a/0.png" … of several classes. */
function files(classes: readonly string[], count: number): Record<string, number> {
  return Object.fromEntries(
    classes.flatMap((name, c) =>
      Array.from({ length: count }, (_, i) => [`${name}/${i}.png`, c * count + i])
    ),
  );
}

Deno.test({
  name: "openImageFolder() takes sub-folders as classes in order of their names",
  ignore,
  fn: () =>
    withFolder({ ...files(["n02", "B", "n01"], 12), "empty/notes.txt": Uint8Array.of(1) }, (f) => {
      using train = open(f);
      using validation = open(f, { split: "validation" });
      assertEquals(train.classNames, ["B", "n01", "n02"]);
      assertEquals(validation.classNames, train.classNames);
      assertEquals(names(train).length + names(validation).length, 36);
      assertEquals(names(train).filter((name) => names(validation).includes(name)), []);
      assertEquals(names(validation), [
        "n01/3.png",
        "n01/4.png",
        "n01/7.png",
        "n02/10.png",
        "n02/6.png",
        "n02/8.png",
      ]);
      for (const i of all(train)) {
        assertEquals(train.classNames[train.label(i)], train.name(i).split("/")[0]);
      }
    }),
});

Deno.test({
  name: "openImageFolder() takes a flat folder as one class, and images deeper in a class",
  ignore,
  fn: async () => {
    await withFolder(
      { "1.png": 1, "2.JPG": encodeJpeg(patternImage({ width: 9, height: 9 }, 1)) },
      (f) => {
        using train = open(f);
        assertEquals(train.classNames, [f.slice(f.lastIndexOf("/") + 1)]);
        assertEquals(train.length, 1);
      },
    );
    await withFolder({ "a/x/y/1.jpeg": 1, "a/2.png": 2, "b/.hidden.png": 3 }, (f) => {
      using train = open(f);
      using validation = open(f, { split: "validation" });
      assertEquals(train.classNames, ["a"]);
      assertEquals([...names(train), ...names(validation)].sort(), ["a/2.png", "a/x/y/1.jpeg"]);
    });
  },
});

Deno.test({
  name: "openImageFolder() uses train and val folders as the splits",
  ignore,
  fn: () =>
    withFolder(
      { "train/a/1.png": 1, "train/b/1.png": 2, "train/c/1.png": 3, "val/c/9.png": 4 },
      (f) => {
        using train = open(f);
        using validation = open(f, { split: "validation" });
        assertEquals(names(train), ["a/1.png", "b/1.png", "c/1.png"]);
        assertEquals(names(validation), ["c/9.png"]);
        assertEquals([validation.classNames, validation.label(0)], [["a", "b", "c"], 2]);
      },
    ),
});

Deno.test({
  name: "openImageFolder() rejects a validation class that training lacks",
  ignore,
  fn: () =>
    withFolder({ "train/a/1.png": 1, "train/b/1.png": 1, "val/d/1.png": 2 }, (f) => {
      assertThrows(() => open(f, { split: "validation" }), UserError, "found d");
    }),
});

Deno.test({
  name: "openImageFolder() rejects an empty folder and one that is not there, by name",
  ignore,
  fn: () =>
    withFolder({ "readme.txt": Uint8Array.of(1) }, (f) => {
      assertThrows(() => open(f), UserError, `folder ${f}: expected a folder of PNG or JPEG`);
      const missing = `${f}/missing`;
      assertThrows(() => open(missing), UserError, `${missing}: no such file or folder; expected`);
      assertThrows(() => open(`${f}/readme.txt`), UserError, "readme.txt");
      assertThrows(() => open(f, { resolution: 0 }), RangeError, "found 0");
    }),
});

Deno.test({
  name: "openImageFolder() follows links, but not in circles",
  ignore: ignoreLinks,
  fn: () =>
    withFolder({ "real/a/1.png": 1, "real/a/2.png": 2, "set/b/3.png": 3 }, async (f) => {
      await Deno.symlink(`${f}/real/a`, `${f}/set/a`);
      await Deno.symlink(`${f}/real`, `${f}/real/a/up`);
      using train = open(`${f}/set`);
      assertEquals(train.classNames, ["a", "b"]);
      using validation = open(`${f}/set`, { split: "validation" });
      assertEquals(train.length + validation.length, 3);
    }),
});

Deno.test({
  name: "load() scales and crops images of any size, a single pixel included",
  ignore,
  fn: () =>
    withFolder({
      "train/a/pixel.png": encodePng({ width: 1, height: 1, pixels: Uint8Array.of(0, 51, 255) }),
      "train/a/small.png": encodePng(patternImage({ width: 3, height: 5 }, 1)),
      "train/a/wide.jpg": encodeJpeg(patternImage({ width: 64, height: 9 }, 1)),
      "val/a/x.png": 1,
    }, async (f) => {
      using train = open(f);
      const { images } = await train.load([0, 1, 2]);
      assertEquals(images.length, 3 * 8 * 8 * 3);
      assertEquals([...images.slice(0, 6)], [-1, -0.6, 1, -1, -0.6, 1].map(Math.fround));
      assert(images.every((value) => value >= -1 && value <= 1));
    }),
});

Deno.test({
  name: "load() replaces broken files by the next readable one, and counts them once",
  ignore,
  fn: () => {
    const png = encodePng(patternImage({ width: 20, height: 20 }, 1));
    return withFolder({
      "train/a/0.png": 1,
      "train/a/1.png": png.slice(0, png.length - 30),
      "train/a/2.jpg": new TextEncoder().encode("no image at all"),
      "train/b/3.png": 2,
      "train/b/4.png": new Uint8Array(0),
      "val/a/x.png": 1,
    }, async (f) => {
      const warnings: string[] = [];
      {
        using train = open(f, { warn: (message) => warnings.push(message) });
        const { images, indices } = await train.load([0, 1, 2, 3, 4]);
        assertEquals([...indices], [0, 3, 3, 3, 0]);
        assertEquals((await train.load([0, 3, 3, 3, 0])).images, images);
        assertEquals(warnings, []);
        train.reportSkipped();
        train.reportSkipped();
      }
      assertEquals(warnings.length, 1);
      const [warning = ""] = warnings;
      assert(
        warning.startsWith(
          `Skipped 3 of 5 images of the image folder ${f} that cannot be read: a/1.png (`,
        ),
        warning,
      );
    });
  },
});

Deno.test({
  name: "load() throws a UserError where no file can be read",
  ignore,
  fn: () =>
    withFolder({ "a.png": Uint8Array.of(1, 2), "b.png": Uint8Array.of(3) }, async (f) => {
      using train = open(f, { warn: () => {} });
      await assertRejects(() => train.load([0]), UserError, "that cannot be read");
    }),
});

Deno.test({
  name: "load() gives identical bytes with and without workers, crops and flips included",
  ignore,
  fn: () =>
    withFolder({
      ...files(["a", "b"], 12),
      "a/x.jpg": encodeJpeg(patternImage({ width: 33, height: 21 }, 1)),
      "b/y.jpg": encodeJpeg(patternImage({ width: 33, height: 21 }, 2)),
    }, async (f) => {
      const options = { randomCrop: true, horizontalFlip: true, resolution: 16 };
      const key = { augment: { seed: 3, epoch: 5 } };
      using alone = open(f, options);
      using pool = open(f, { ...options, workers: 2 });
      const want = await alone.load(all(alone), key);
      assertEquals(await pool.load(all(pool), key), want);
      const other = await alone.load(all(alone), { augment: { seed: 3, epoch: 6 } });
      assertNotEquals(other.images, want.images);
      assertNotEquals((await alone.load(all(alone))).images, want.images);
    }),
});

Deno.test({
  name: "load() gives identical bytes from files and from kept pixels",
  ignore,
  fn: () =>
    withFolder(files(["a"], 10), async (f) => {
      using none = open(f, { cacheBytes: 0, horizontalFlip: true });
      using some = open(f, { cacheBytes: 4 * 8 * 8 * 3, horizontalFlip: true });
      for (const epoch of [0, 1]) {
        const key = { augment: { seed: 1, epoch } };
        assertEquals(await some.load(all(some), key), await none.load(all(none), key));
      }
      // What is kept needs no file any more.
      await Deno.remove(`${f}/a`, { recursive: true });
      assertEquals((await some.load([0, 1, 2, 3])).indices, Uint32Array.of(0, 1, 2, 3));
    }),
});

Deno.test({
  name: "dispose rejects what workers have not finished, and a later load starts them again",
  ignore,
  fn: () =>
    withFolder(files(["a"], 10), async (f) => {
      using dataset = open(f, { workers: 1 });
      const unfinished = dataset.load(all(dataset));
      dataset[Symbol.dispose]();
      await assertRejects(() => unfinished, Error, "closed");
      assertEquals((await dataset.load([1])).indices, Uint32Array.of(1));
    }),
});
