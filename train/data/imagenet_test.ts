/** Tests of ImageNet's layout: lists, subsets, classes by rank, and the index that is kept. @module */

import { assertEquals, assertRejects } from "@std/assert";
import { withFolder } from "../../tests/images.ts";
import { UserError } from "../errors.ts";
import type { Dataset } from "./dataset.ts";
import { type ImageNetOptions, openImageNet } from "./imagenet.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "write" })).state !== "granted";

function open(root: string, options: Partial<ImageNetOptions> = {}): Promise<Dataset> {
  return openImageNet({
    root,
    split: "train",
    subset: null,
    subIndices: null,
    resolution: 8,
    workers: 0,
    cacheDirectory: null,
    warn: (message) => {
      throw new Error(message);
    },
    ...options,
  });
}

function names(dataset: Dataset): string[] {
  return Array.from({ length: dataset.length }, (_, i) => dataset.name(i));
}

function labels(dataset: Dataset): number[] {
  return Array.from({ length: dataset.length }, (_, i) => dataset.label(i));
}

function text(...lines: readonly string[]): Uint8Array {
  return new TextEncoder().encode(lines.join("\n") + "\n");
}

const FILES = {
  "train/n03/b.JPEG": 1,
  "train/n03/a.JPEG": 2,
  "train/n01/c.JPEG": 3,
  "train/n02/d.JPEG": 4,
  "train/n02/deeper/e.JPEG": 5,
  "train/n06596364/n06596364_9591.JPEG": 6,
  "train/n06596364/n06596364_1.JPEG": 7,
  "train/n03/notes.txt": text("no image"),
  "val/n02/v.JPEG": 8,
  "val/n03/w.JPEG": 9,
};

Deno.test({
  name: "openImageNet() numbers the sorted synsets, and leaves out what the reference does",
  ignore,
  fn: () =>
    withFolder(FILES, async (f) => {
      using train = await open(f);
      assertEquals(train.classNames, ["n01", "n02", "n03", "n06596364"]);
      assertEquals(names(train), [
        "n01/c.JPEG",
        "n02/d.JPEG",
        "n03/a.JPEG",
        "n03/b.JPEG",
        "n06596364/n06596364_1.JPEG",
      ]);
      assertEquals(labels(train), [0, 1, 2, 2, 3]);
      using validation = await open(f, { split: "validation" });
      assertEquals([names(validation), labels(validation)], [["n02/v.JPEG", "n03/w.JPEG"], [0, 1]]);
      // The folder of one split may be named itself.
      using own = await open(`${f}/val`, { split: "validation" });
      assertEquals(names(own), names(validation));
      const { images } = await train.load([4, 0]);
      assertEquals(images.length, 2 * 8 * 8 * 3);
    }),
});

Deno.test({
  name: "openImageNet() takes the files of a list, in its order, and those of a subset",
  ignore,
  fn: () =>
    withFolder({
      ...FILES,
      "train/filelist.txt": text("n03/b.JPEG", "n01/c.JPEG", "n03/a.JPEG", "n03/missing.JPEG"),
      "train_tiny.txt": text("n02/d.JPEG"),
    }, async (f) => {
      const warnings: string[] = [];
      {
        using listed = await open(f, { warn: (message) => warnings.push(message) });
        assertEquals(labels(listed), [1, 0, 1, 1]);
        assertEquals(names(listed)[0], "n03/b.JPEG");
        assertEquals((await listed.load([2, 3])).indices, Uint32Array.of(2, 0));
      }
      assertEquals(warnings.length, 1);
      using tiny = await open(f, { subset: "tiny" });
      assertEquals([names(tiny), tiny.classNames], [["n02/d.JPEG"], ["n02"]]);
      using path = await open(f, { subset: `${f}/train_tiny.txt` });
      assertEquals(names(path), names(tiny));
      await assertRejects(() => open(f, { subset: "huge" }), UserError, "train_huge.txt");
    }),
});

Deno.test({
  name: "openImageNet() takes classes by number, the end of a range excluded",
  ignore,
  fn: () =>
    withFolder(FILES, async (f) => {
      using some = await open(f, { subIndices: "2-3, 0" });
      assertEquals([some.classNames, labels(some)], [["n01", "n03"], [0, 1, 1]]);
      const refused = (subIndices: string, includes: string) =>
        assertRejects(() => open(f, { subIndices }), UserError, includes);
      await refused("0,", 'found ""');
      await refused("a-b", 'found "a-b"');
      await refused("4", "expected classes under 4, found 4");
      await refused("0-99999999999", "expected classes under 1000000");
      await refused("1-1", "expected images, found none");
      await Deno.writeFile(`${f}/train/imagenet_idx_to_synset.yaml`, text("0: n03", "1: n02"));
      using named = await open(f, { subIndices: "0" });
      assertEquals(named.classNames, ["n03"]);
    }),
});

Deno.test({
  name: "openImageNet() refuses folders without images, and lists that lead out of the folder",
  ignore,
  fn: () =>
    withFolder({ ...FILES, "outside.JPEG": 1 }, async (f) => {
      await assertRejects(
        () => open(`${f}/missing`),
        UserError,
        "missing: no such file or folder; expected filelist.txt",
      );
      await assertRejects(() => open(`${f}/train/n02/deeper`), UserError, "expected filelist.txt");
      for (
        const line of ["../outside.JPEG", "n01/../../x.JPEG", "/etc/passwd", "flat.JPEG", "a/\0"]
      ) {
        await Deno.writeFile(`${f}/train/filelist.txt`, text("n01/c.JPEG", line));
        await assertRejects(() => open(f), UserError, "expected lines such as n01440764/");
      }
    }),
});

/** Makes a folder and everything in it look as if it had not changed for long. */
async function settle(path: string): Promise<void> {
  for await (const entry of Deno.readDir(path)) {
    if (entry.isDirectory) await settle(`${path}/${entry.name}`);
    else await Deno.utime(`${path}/${entry.name}`, 1000, 1000);
  }
  await Deno.utime(path, 1000, 1000);
}

Deno.test({
  name: "openImageNet() keeps its list until a folder, the list of files or the choice changes",
  ignore,
  fn: () =>
    withFolder(FILES, async (f) => {
      const cacheDirectory = `${f}/cache`;
      const counted = async (options: Partial<ImageNetOptions> = {}): Promise<number> => {
        using dataset = await open(f, { cacheDirectory, ...options });
        return dataset.length;
      };
      const kept = () => {
        try {
          return [...Deno.readDirSync(`${cacheDirectory}/index`)].length;
        } catch {
          return 0;
        }
      };
      // What has just changed may change again without a newer time.
      assertEquals([await counted(), kept()], [5, 0]);
      await settle(f);
      assertEquals([await counted(), kept()], [5, 1]);
      const before = names(await open(f, { cacheDirectory }));
      // Not looked at again: the times say that nothing changed.
      await Deno.remove(`${f}/train/n01/c.JPEG`);
      await settle(f);
      assertEquals(names(await open(f, { cacheDirectory })), before);
      // Another time, another look.
      await Deno.utime(`${f}/train/n01`, 2000, 2000);
      assertEquals(await counted(), 4);
      assertEquals([await counted({ subIndices: "0" }), kept()], [1, 2]);
      // A damaged list is made again.
      const whole = names(await open(f, { cacheDirectory }));
      for (const { name } of Deno.readDirSync(`${cacheDirectory}/index`)) {
        const path = `${cacheDirectory}/index/${name}`;
        const bytes = await Deno.readFile(path);
        bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1;
        await Deno.writeFile(path, bytes);
      }
      assertEquals(names(await open(f, { cacheDirectory })), whole);
    }),
});
