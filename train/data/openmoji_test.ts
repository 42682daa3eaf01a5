/** Tests of the embedded data set. @module */

import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { unitToSamples } from "../image/resize.ts";
import { listOpenMoji, OPENMOJI_CLASSES, openOpenMoji } from "./openmoji.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "write" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "ffi" })).state !== "granted";

function counts(split: "train" | "validation"): number[] {
  const entries = listOpenMoji(split);
  return OPENMOJI_CLASSES.map((_, label) =>
    entries.filter((entry) => entry.label === label).length
  );
}

Deno.test("listOpenMoji() holds fixed numbers of images per class", () => {
  assertEquals(counts("train"), [159, 351, 134, 119, 200, 77, 236, 209, 245]);
  assertEquals(counts("validation"), [12, 37, 26, 12, 19, 8, 30, 15, 25]);
});

Deno.test("listOpenMoji() keeps fixed names in each split, and no skin tones", () => {
  const validation = listOpenMoji("validation").map((entry) => entry.name);
  const train = listOpenMoji("train").map((entry) => entry.name);
  assertEquals(validation.slice(0, 5), ["1F605", "1F910", "1F610", "1F924", "1F927"]);
  assertEquals(train.slice(0, 3), ["1F600", "1F603", "1F604"]);
  assertEquals(new Set([...train, ...validation]).size, 1914);
  assert(train.includes("1F44B") && !train.includes("1F44B-1F3FB"));
});

Deno.test({
  name: "openOpenMoji() draws each picture on white in [-1, 1]",
  ignore,
  fn: async () => {
    using dataset = await openOpenMoji({
      resolution: 16,
      split: "validation",
      cacheDirectory: null,
    });
    assertEquals([dataset.length, dataset.resolution], [184, 16]);
    assertEquals([dataset.name(0), dataset.label(0)], ["1F605", 0]);
    const { images, indices } = await dataset.load([0, 183, 0]);
    assertEquals(images.length, 3 * 16 * 16 * 3);
    assertEquals([...indices], [0, 183, 0]);
    const size = 16 * 16 * 3;
    assertEquals(images.slice(0, size), images.slice(2 * size));
    assertEquals([...images.slice(0, 3)], [1, 1, 1]);
    // The middle of a smiling face is yellow.
    const [red = 0, green = 0, blue = 0] = unitToSamples(images.slice((8 * 16 + 8) * 3));
    assert(red > 180 && green > 150 && blue < 120, `found ${red}, ${green}, ${blue}`);
    await assertRejects(async () => await dataset.load([184]), RangeError, "image 184");
  },
});

Deno.test({
  name: "openOpenMoji() mirrors by seed and epoch only where asked to",
  ignore,
  fn: async () => {
    const options = { resolution: 8, split: "validation", cacheDirectory: null } as const;
    using plain = await openOpenMoji(options);
    using mirrored = await openOpenMoji({ ...options, horizontalFlip: true });
    const all = Array.from({ length: 184 }, (_, i) => i);
    const key = { augment: { seed: 1, epoch: 0 } };
    const images = await mirrored.load(all, key);
    assertEquals(await mirrored.load(all, key), images);
    assertNotEquals(await mirrored.load(all, { augment: { seed: 1, epoch: 1 } }), images);
    assertEquals(await mirrored.load(all), await plain.load(all, key));
  },
});

Deno.test({
  name: "openOpenMoji() gives the same pixels with and without cache, and replaces a damaged one",
  ignore,
  fn: async () => {
    const folder = await Deno.makeTempDir({ prefix: "tessera-" });
    try {
      const options = { resolution: 8, split: "validation" } as const;
      const all = Array.from({ length: 184 }, (_, i) => i);
      const read = async (cacheDirectory: string | null) => {
        using dataset = await openOpenMoji({ ...options, cacheDirectory });
        return (await dataset.load(all)).images;
      };
      const want = await read(null);
      const cacheDirectory = `${folder}/deep/cache`;
      assertEquals(await read(cacheDirectory), want);
      const [entry] = [...Deno.readDirSync(cacheDirectory)];
      const path = `${cacheDirectory}/${entry?.name}`;
      const good = await Deno.readFile(path);
      assertEquals(await read(cacheDirectory), want);
      const flipped = good.slice();
      flipped[good.length - 9] = (good[good.length - 9] ?? 0) ^ 1;
      for (const bad of [flipped, good.slice(0, -1), new Uint8Array(0)]) {
        await Deno.writeFile(path, bad);
        assertEquals(await read(cacheDirectory), want);
        assertEquals(await Deno.readFile(path), good);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
