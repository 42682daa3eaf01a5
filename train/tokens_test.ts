/** Tests of batches of tokens, and of tokens on the disk. @module */

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { withFolder } from "../tests/images.ts";
import { UserError } from "./errors.ts";
import { SafetensorsReader } from "./files/safetensors.ts";
import { shardCount, shardRange, type TokenLayout, TokenStore, writeShard } from "./token_store.ts";
import { TokenBatches, type TokenSource } from "./tokens.ts";
import { viewsOf } from "./views.ts";

const ignore = (await Deno.permissions.query({ name: "write" })).state !== "granted";

/** Seven images of two tokens: image `i` in view `v` has 100 v + 2 i and the number behind it, and the class 10 + i. */
function source(views: number): TokenSource {
  return {
    labels: Uint32Array.from({ length: 7 }, (_, i) => 10 + i),
    views,
    tokensPerImage: 2,
    counts: () => new Float64Array(),
    take: (images, drawn) => {
      const rows = Array.from(images);
      const tokens = rows.flatMap((image, row) => {
        const first = 100 * (drawn?.[row] ?? 0) + 2 * image;
        return [first, first + 1];
      });
      return {
        tokens: Uint32Array.from(tokens),
        labels: Uint32Array.from(rows, (image) => 10 + image),
      };
    },
  };
}

Deno.test("TokenBatches takes each image once an epoch, in an order of its own", () => {
  const options = { batchSize: 2, seed: 1 };
  const batches = new TokenBatches(source(1), options);
  assertEquals(batches.batchesPerEpoch, 3);
  const epochs = [0, 1].map((epoch) =>
    [0, 1, 2].flatMap((i) => [...batches.batch(3 * epoch + i).labels])
  );
  assertEquals(epochs.map((seen) => new Set(seen).size), [6, 6]);
  assertNotEquals(epochs[0], epochs[1]);
  const fourth = new TokenBatches(source(1), options).batch(4);
  assertEquals(fourth, batches.batch(4));
  assertEquals(fourth.epoch, 1);
  const pairs = [...fourth.labels].flatMap((label) => [2 * (label - 10), 2 * (label - 10) + 1]);
  assertEquals([...fourth.tokens], pairs);
  assertThrows(
    () => new TokenBatches(source(1), { ...options, batchSize: 8 }),
    UserError,
    "Cannot make a batch of 8 images: expected at least as many in the data set, found 7",
  );
});

Deno.test("TokenBatches draws a view for each image and epoch", () => {
  const batches = new TokenBatches(source(10), { batchSize: 7, seed: 1 });
  const drawn = Array.from({ length: 40 }, (_, epoch) => {
    const { tokens, labels } = batches.batch(epoch);
    return Array.from(labels, (_, i) => Math.floor((tokens[2 * i] ?? 0) / 100));
  }).flat();
  assertEquals(new Set(drawn).size, 10);
  const counts = Array.from({ length: 10 }, (_, view) => drawn.filter((v) => v === view).length);
  assert(Math.min(...counts) >= 14 && Math.max(...counts) <= 44, counts.join(" "));
});

Deno.test("viewsOf() lists one, two or ten different views", () => {
  assertEquals(viewsOf("one", 256), [{ shorterSide: 256, flip: false }]);
  assertEquals(viewsOf("flips", 256).map((view) => view.flip), [false, true]);
  const ten = viewsOf("ten_crops", 256);
  assertEquals(new Set(ten.map((view) => JSON.stringify(view))).size, 10);
  assertEquals(new Set(ten.map((view) => view.shorterSide)), new Set([282]));
});

for (const codes of [65_536, 65_537]) {
  Deno.test({
    name: `TokenStore gives back rows and counts of ${codes} codes`,
    ignore,
    fn: () =>
      withFolder({}, async (folder) => {
        const layout: TokenLayout = {
          folder,
          key: "k",
          images: 7,
          views: 2,
          tokensPerImage: 3,
          codes,
          imagesPerShard: 3,
        };
        const token = (image: number, view: number, i: number): number =>
          i === 2 ? codes - 1 : 100 * image + 10 * view + i;
        assertEquals(shardCount(layout), 3);
        assertEquals(await TokenStore.open(layout), undefined);
        for (let shard = 0; shard < 3; shard++) {
          const { start, end } = shardRange(layout, shard);
          const images = Array.from({ length: end - start }, (_, i) => start + i);
          const tokens = images.flatMap((image) =>
            [0, 1].flatMap((view) => [0, 1, 2].map((i) => token(image, view, i)))
          );
          await writeShard(layout, shard, {
            tokens: Uint32Array.from(tokens),
            labels: Uint32Array.from(images, (image) => image % 2),
          });
        }
        {
          using file = await SafetensorsReader.open(`${folder}/00000.safetensors`);
          assertEquals(file.entry("tokens").dtype, codes === 65_536 ? "U16" : "U32");
        }
        using store = await TokenStore.open(layout);
        assert(store);
        assertEquals([...store.labels], [0, 1, 0, 1, 0, 1, 0]);
        const { tokens, labels } = store.take([6, 2, 2], [1, 0, 1]);
        const want = [[6, 1], [2, 0], [2, 1]].flatMap(([image = 0, view = 0]) =>
          [0, 1, 2].map((i) => token(image, view, i))
        );
        assertEquals([[...tokens], [...labels]], [want, [0, 0, 0]]);
        const counts = store.counts();
        assertEquals([counts[codes - 1], counts[610], counts[3]], [14, 1, 0]);
        assertThrows(() => store.take([7]), RangeError, "expected less than 7");
        assertEquals(await TokenStore.open({ ...layout, key: "other" }), undefined);
        assertEquals(await TokenStore.open({ ...layout, views: 1 }), undefined);
      }),
  });
}
