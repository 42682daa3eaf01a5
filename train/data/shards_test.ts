/** Tests of WebDataset shards: grouping, endings, filters, lists, damaged shards. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { encodeJpeg, patternImage, withFolder } from "../../tests/images.ts";
import { tarFile } from "../../tests/tar.ts";
import { UserError } from "../errors.ts";
import { LibJpeg } from "../image/libjpeg.ts";
import { samplesToUnit } from "../image/resize.ts";
import type { Dataset } from "./dataset.ts";
import { cutSquare } from "./prepare.ts";
import { openShards, type ShardsOptions } from "./shards.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "write" })).state !== "granted";

function open(dataDir: readonly string[], options: Partial<ShardsOptions> = {}): Promise<Dataset> {
  return openShards({
    dataDir,
    imageKey: ["jpg", "jpeg.jpg", "jpg.jpg"],
    filterPath: [],
    sampleJsonPath: [],
    sampleCocoUrls: null,
    sampleHdUrls: null,
    resolution: 8,
    workers: 0,
    cacheDirectory: null,
    warn: (message) => {
      throw new Error(message);
    },
    ...options,
  });
}

/** Names behind the last ".tar/". */
function names(dataset: Dataset): string[] {
  return Array.from({ length: dataset.length }, (_, i) => dataset.name(i).split(".tar/")[1] ?? "");
}

function picture(seed: number): Uint8Array {
  return encodeJpeg(patternImage({ width: 21, height: 13 }, seed));
}

function shard(members: readonly string[], seed = 0): Uint8Array {
  return tarFile(members.map((name, i) => ({
    name,
    data: /jpg$/.test(name) ? picture(seed + i) : new TextEncoder().encode(name),
  })));
}

function json(content: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(content));
}

Deno.test({
  name: "openShards() takes one image a sample, by the first ending that it has",
  ignore,
  fn: () =>
    withFolder({
      "b.tar": shard(["x/0001.txt", "x/0001.jpg", "x/0002.jpeg.jpg", "x/0002.json"], 1),
      "a.tar": shard(["1.jpg.jpg", "1.jpg", "2.JPG", "3.png", "4.json"], 9),
      "notes.txt": json({}),
      "deeper/c.tar": shard(["9.jpg"]),
    }, async (f) => {
      using dataset = await open([`${f}/`]);
      assertEquals(names(dataset), ["1.jpg", "2.JPG", "x/0001.jpg", "x/0002.jpeg.jpg"]);
      assertEquals([dataset.classNames, dataset.label(3)], [["images"], 0]);
      const { images } = await dataset.load([3]);
      const decoded = await new LibJpeg().decode(picture(1 + 2));
      const want = samplesToUnit(cutSquare(decoded, { resolution: 8, resampling: "pillow" }));
      assertEquals(images, want);
      assert(dataset.identity !== (await open([f], { imageKey: ["jpg"] })).identity);
    }),
});

Deno.test({
  name: "openShards() leaves out filtered members, and says where images are missing",
  ignore,
  fn: () =>
    withFolder({
      "data/a.tar": shard(["0001.jpg", "0002.jpg", "0003.jpg"]),
      "data/b.tar": shard(["0001.jpg"]),
    }, async (f) => {
      const [a, b] = [`${f}/data/a.tar`, `${f}/data/b.tar`];
      await Deno.writeFile(`${f}/filter.json`, json({ [a]: ["0002.jpg"] }));
      await Deno.writeFile(`${f}/samples.json`, json({ [a]: 2, [b]: 1 }));
      await Deno.writeFile(`${f}/more.json`, json({ [b]: 7 }));
      const filterPath = [`${f}/filter.json`];
      using exact = await open([`${f}/data`], {
        filterPath,
        sampleJsonPath: [`${f}/samples.json`],
      });
      assertEquals(names(exact), ["0001.jpg", "0003.jpg", "0001.jpg"]);
      const warnings: string[] = [];
      using _ = await open([`${f}/data`], {
        filterPath,
        sampleJsonPath: [`${f}/samples.json`, `${f}/more.json`],
        warn: (message) => warnings.push(message),
      });
      assertEquals(warnings, [
        `Damaged 1 of 2 shards, whose readable images are used: ${b}: expected 7 images, found 1`,
      ]);
      await Deno.writeFile(`${f}/filter.json`, json({ [a]: "0002.jpg" }));
      await assertRejects(() => open([`${f}/data`], { filterPath }), UserError, "lists of members");
      await Deno.writeFile(`${f}/filter.json`, new TextEncoder().encode("{"));
      await assertRejects(() => open([`${f}/data`], { filterPath }), UserError, "expected JSON");
      const sampleJsonPath = [`${f}/none.json`];
      await assertRejects(() => open([`${f}/data`], { sampleJsonPath }), UserError, "no such file");
    }),
});

Deno.test({
  name: "openShards() knows the folders of LAION, and takes lists of shards in their place",
  ignore,
  fn: () =>
    withFolder({
      "LAION-COCO/1/2/a.tar": shard(["coco.jpg"]),
      "LAION-COCO/1/b.tar": shard(["not here.jpg"]),
      "laion-hd/part/c.tar": shard(["hd.jpg"]),
      "other/d.tar": shard(["other.jpg"]),
    }, async (f) => {
      const folders = [`${f}/LAION-COCO`, `${f}/laion-hd`, `${f}/other`];
      using all = await open(folders);
      assertEquals(names(all), ["coco.jpg", "hd.jpg", "other.jpg"]);
      const list = `${f}/urls.txt`;
      await Deno.writeTextFile(list, `${f}/LAION-COCO/1/b.tar\n`);
      using some = await open(folders, { sampleCocoUrls: list });
      assertEquals(names(some), ["not here.jpg", "hd.jpg", "other.jpg"]);
      await assertRejects(() => open([`${f}/LAION-COCO/1/2/x`]), UserError, "no such file");
      await assertRejects(() => open([f]), UserError, "expected .tar files, found none");
      await assertRejects(
        () => open([`${f}/other`], { imageKey: ["webp"] }),
        UserError,
        "expected members that end in webp, found none in 1 shards",
      );
    }),
});

Deno.test({
  name: "openShards() uses what a damaged shard still holds, and keeps its list",
  ignore,
  fn: () => {
    const whole = shard(["1.jpg", "2.jpg", "3.jpg"]);
    return withFolder({ "d/a.tar": whole.subarray(0, whole.length - 2000) }, async (f) => {
      const warnings: string[] = [];
      const warn = (message: string): void => void warnings.push(message);
      for (const path of [`${f}/d/a.tar`, `${f}/d`]) await Deno.utime(path, 1000, 1000);
      const options = { warn, cacheDirectory: `${f}/cache` };
      using dataset = await open([`${f}/d`], options);
      assertEquals(names(dataset), ["1.jpg", "2.jpg"]);
      assert(warnings[0]?.includes("cut short"), warnings.join());
      const { images } = await dataset.load([0, 1]);
      using kept = await open([`${f}/d`], options);
      assertEquals((await kept.load([0, 1])).images, images);
      assertEquals([names(kept), kept.identity], [names(dataset), dataset.identity]);
      assertEquals(warnings.length, 1);
    });
  },
});
