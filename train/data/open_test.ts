/** Tests of opening a data set by name. @module */

import { assertEquals, assertRejects } from "@std/assert";
import { withFolder } from "../../tests/images.ts";
import { UserError } from "../errors.ts";
import {
  type DatasetSpec,
  IMAGE_FOLDER_TARGET,
  IMAGENET_TARGETS,
  NPZ_TARGET,
  openDataset,
  OPENMOJI_TARGET,
  SHARDS_TARGET,
} from "./open.ts";
import { writeNpz } from "../files/npz.ts";
import { tarFile } from "../../tests/tar.ts";

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
  await assertRefused(
    { target: NPZ_TARGET, params: { path: "x", split: 1 } },
    "train, validation or",
  );
  const { train, validation } = IMAGENET_TARGETS;
  await assertRefused({ target: train, params: { config: 3 } }, `expected a mapping for "config"`);
  await assertRefused({ target: train, params: { config: { sise: 3 } } }, `found "sise"`);
  await assertRefused(
    { target: validation, params: { config: { "original_reso": true } } },
    "expected false",
  );
  await assertRefused({ target: SHARDS_TARGET }, `expected the parameter "data_dir"`);
  const blind = { "data_dir": ["x"], "enable_image": false };
  await assertRefused({ target: SHARDS_TARGET, params: { config: blind } }, "expected true");
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

Deno.test({
  name: "openDataset() opens npz files, ImageNet and shards",
  ignore,
  fn: () =>
    withFolder({
      "imagenet/train/n1/a.JPEG": 1,
      "imagenet/val/n1/b.JPEG": 2,
      "shards/a.tar": tarFile([{ name: "1.jpg", data: new Uint8Array(1) }]),
    }, async (f) => {
      const quiet = { ...options, cacheDirectory: null };
      const data = [new Uint8Array(48)];
      await writeNpz(`${f}/a.npz`, [{ name: "arr_0", dtype: "|u1", shape: [1, 4, 4, 3], data }]);
      using npz = await openDataset(`${f}/a.npz`, quiet);
      assertEquals(npz.name(0), "arr_0/0");
      const config = { root: `${f}/imagenet` };
      for (const [target, name] of [["train", "n1/a.JPEG"], ["validation", "n1/b.JPEG"]] as const) {
        using split = await openDataset(
          { target: IMAGENET_TARGETS[target], params: { config } },
          { ...quiet, split: target },
        );
        assertEquals(split.name(0), name);
      }
      using shards = await openDataset({
        target: SHARDS_TARGET,
        params: { config: { "data_dir": [`${f}/shards`] } },
      }, quiet);
      assertEquals(shards.name(0), `${f}/shards/a.tar/1.jpg`);
    }),
});
