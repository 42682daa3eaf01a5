/** Tests of opening a data set by name. @module */

import { assertEquals, assertRejects } from "@std/assert";
import { withFolder } from "../../tests/images.ts";
import { UserError } from "../errors.ts";
import { type DatasetSpec, IMAGE_FOLDER_TARGET, openDataset, OPENMOJI_TARGET } from "./open.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "write" })).state !== "granted";
const ignoreDrawing = ignore || (await Deno.permissions.query({ name: "ffi" })).state !== "granted";

const options = { resolution: 8, split: "train", warn: () => {}, workers: 0 } as const;

async function assertRefused(spec: DatasetSpec, includes: string): Promise<void> {
  await assertRejects(() => openDataset(spec, options), UserError, includes);
}

Deno.test("openDataset() rejects unknown targets and parameters, and wrong types", async () => {
  await assertRefused({ target: "a.B" }, "Cannot open the data set a.B: expected");
  await assertRefused({ target: IMAGE_FOLDER_TARGET }, `expected the parameter "path"`);
  await assertRefused({ target: OPENMOJI_TARGET, params: { flip: true } }, `found "flip"`);
  const path = { path: "x", "random_crop": "yes" };
  await assertRefused({ target: IMAGE_FOLDER_TARGET, params: path }, `"random_crop", found "yes"`);
});

Deno.test({
  name: "openDataset() opens a folder by its path and by an entry of a configuration",
  ignore,
  fn: () =>
    withFolder({ "a/1.png": 1, "a/2.png": 2, "b/3.png": 3 }, async (path) => {
      using byPath = await openDataset(path, options);
      using byEntry = await openDataset({
        target: IMAGE_FOLDER_TARGET,
        params: { path, random_crop: true, cache_bytes: null },
      }, options);
      assertEquals(byPath.classNames, ["a", "b"]);
      assertEquals(await byPath.load([0]), await byEntry.load([0]));
    }),
});

Deno.test({
  name: "openDataset() opens the embedded data set",
  ignore: ignoreDrawing,
  fn: () =>
    withFolder({}, async (folder) => {
      const params = { "cache_dir": folder };
      using dataset = await openDataset({ target: OPENMOJI_TARGET, params }, {
        ...options,
        split: "validation",
      });
      assertEquals(dataset.classNames.length, 9);
      assertEquals([...Deno.readDirSync(folder)].length, 1);
    }),
});
