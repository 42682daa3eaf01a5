/** Tests of batches: order, position, prefetching. @module */

import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../errors.ts";
import type { Dataset, LoadedImages, LoadImagesOptions } from "./dataset.ts";
import { type Batch, BatchLoader, type BatchLoaderOptions } from "./loader.ts";

/** A data set in memory whose images are one pixel: index, seed and epoch. */
class Numbers implements Dataset {
  readonly classNames = ["even", "odd"];
  readonly resolution = 1;
  readonly identity = "numbers";
  loads = 0;
  reports = 0;

  constructor(readonly length: number, readonly broken: ReadonlySet<number> = new Set()) {}

  label(index: number): number {
    return index % 2;
  }

  name(index: number): string {
    return String(index);
  }

  async load(indices: ArrayLike<number>, options: LoadImagesOptions = {}): Promise<LoadedImages> {
    this.loads++;
    const used = Array.from(indices, (index) => this.broken.has(index) ? index + 1 : index);
    // Later batches are done sooner.
    for (let turns = 20 - 4 * (this.loads % 5); turns > 0; turns--) await Promise.resolve();
    const { seed = -1, epoch = -1 } = options.augment ?? {};
    const images = Float32Array.from(used.flatMap((index) => [index, seed, epoch]));
    return { images, indices: Uint32Array.from(used) };
  }

  reportSkipped(): void {
    this.reports++;
  }

  [Symbol.dispose](): void {}
}

async function take(loader: BatchLoader, count: number): Promise<Batch[]> {
  const batches: Batch[] = [];
  while (batches.length < count) batches.push(await loader.next());
  return batches;
}

function loaderOf(length: number, options: Partial<BatchLoaderOptions> = {}): BatchLoader {
  return new BatchLoader(new Numbers(length), { batchSize: 4, seed: 9, ...options });
}

Deno.test("BatchLoader.next() shows each image once per epoch, in another order each time", async () => {
  using loader = loaderOf(12);
  assertEquals(loader.batchesPerEpoch, 3);
  const batches = await take(loader, 6);
  assertEquals(batches.map((b) => [b.epoch, b.batchInEpoch]), [
    ...[[0, 0], [0, 1], [0, 2]],
    ...[[1, 0], [1, 1], [1, 2]],
  ]);
  const [first, second] = [0, 1].map((epoch) =>
    batches.filter((b) => b.epoch === epoch).flatMap((b) => [...b.indices])
  );
  const sorted = (order: number[] | undefined) => order?.toSorted((a, b) => a - b);
  assertEquals(sorted(first), [...Array(12).keys()]);
  assertEquals(sorted(second), [...Array(12).keys()]);
  assertNotEquals(first, second);
  assertNotEquals(first, sorted(first));
});

Deno.test("BatchLoader.next() is the same for the same seed only", async () => {
  using a = loaderOf(12);
  using b = loaderOf(12, { prefetch: 0 });
  using c = loaderOf(12, { seed: 10 });
  const want = await take(a, 5);
  assertEquals(await take(b, 5), want);
  assertNotEquals(await take(c, 5), want);
});

Deno.test("BatchLoader continues at a stored position with identical batches", async () => {
  using loader = loaderOf(22);
  await take(loader, 8);
  const position = structuredClone(loader.position);
  assertEquals(position, { epoch: 1, batchInEpoch: 3 });
  const want = await take(loader, 9);
  using resumed = loaderOf(22, { position });
  assertEquals(await take(resumed, 9), want);
  loader.seek(position);
  assertEquals(await take(loader, 9), want);
});

Deno.test("BatchLoader drops the last images of an epoch, or gives a smaller batch", async () => {
  using dropping = loaderOf(10);
  assertEquals((await take(dropping, 3)).map((b) => b.epoch), [0, 0, 1]);
  using keeping = loaderOf(10, { dropLast: false, shuffle: false });
  const batches: Batch[] = [];
  for await (const batch of keeping.epoch()) batches.push(batch);
  assertEquals(batches.map((b) => [...b.indices]), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]);
  assertEquals(batches.map((b) => b.images.length), [12, 12, 6]);
  assertEquals(keeping.position, { epoch: 1, batchInEpoch: 0 });
});

Deno.test("BatchLoader keys crops and flips by seed and epoch, and not where order is fixed", async () => {
  using shuffled = loaderOf(4);
  const [, second] = await take(shuffled, 2);
  assertEquals([...(second?.images.slice(1, 3) ?? [])], [9, 1]);
  using ordered = loaderOf(4, { shuffle: false });
  assertEquals([...(await ordered.next()).images.slice(0, 3)], [0, -1, -1]);
});

Deno.test("BatchLoader labels the images that took the place of broken ones", async () => {
  const dataset = new Numbers(4, new Set([1]));
  using loader = new BatchLoader(dataset, { batchSize: 4, shuffle: false });
  const batch = await loader.next();
  assertEquals([[...batch.indices], [...batch.labels]], [[0, 2, 2, 3], [0, 0, 0, 1]]);
});

Deno.test("BatchLoader loads ahead no more than it was allowed to", async () => {
  const dataset = new Numbers(40);
  using loader = new BatchLoader(dataset, { batchSize: 4, prefetch: 3 });
  await loader.next();
  assertEquals(dataset.loads, 4);
  await loader.next();
  assertEquals(dataset.loads, 5);
});

Deno.test("BatchLoader lets the data set report at the end of each epoch", async () => {
  const dataset = new Numbers(8);
  using loader = new BatchLoader(dataset, { batchSize: 4 });
  await loader.next();
  assertEquals(dataset.reports, 0);
  await take(loader, 3);
  assertEquals(dataset.reports, 2);
});

Deno.test("BatchLoader throws a failed load where its batch is asked for", async () => {
  const dataset = new Numbers(8);
  const load = dataset.load.bind(dataset);
  dataset.load = (indices, options) =>
    dataset.loads === 1 ? Promise.reject(new UserError("no disk")) : load(indices, options);
  using loader = new BatchLoader(dataset, { batchSize: 4 });
  assert(await loader.next());
  await assertRejects(() => loader.next(), UserError, "no disk");
});

Deno.test("BatchLoader rejects impossible sizes and positions", () => {
  assertThrows(() => loaderOf(3), UserError, "found 3; use a smaller batch size");
  assertThrows(() => loaderOf(8, { batchSize: 0 }), RangeError, "found 0");
  assertThrows(() => loaderOf(8, { batchSize: 2.5 }), RangeError, "found 2.5");
  const position = { epoch: 0, batchInEpoch: 2 };
  assertThrows(() => loaderOf(8, { position }), RangeError, "Cannot start at batch 2");
});
