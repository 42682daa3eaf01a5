/** Tests of which checkpoints stay on disk. @module */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { basename } from "node:path";
import { ignoreFiles } from "../tests/tiny_run.ts";
import { CheckpointKeeper } from "./checkpoint_keeper.ts";
import type { CheckpointRetention } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { StageFolder } from "./run_folder.ts";

const BY_LOSS = { split: "train", metric: "loss", mode: "min" } as const;
/** Mean training losses of the steps before each checkpoint. */
const LOSSES = [5, 1, 4, 2, 6, 7];

async function inFolder(body: (folder: StageFolder) => Promise<void>): Promise<void> {
  const folder = new StageFolder(await Deno.makeTempDir());
  await folder.create();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder.path, { recursive: true });
  }
}

async function save(keeper: CheckpointKeeper, folder: StageFolder, step: number): Promise<void> {
  const path = folder.checkpointFile(step);
  await Deno.writeTextFile(path, "");
  await keeper.saved(path);
}

async function stepsLeft(folder: StageFolder): Promise<number[]> {
  return (await folder.checkpoints()).map((path) => Number(/\d+/.exec(basename(path))![0]));
}

/** Writes six checkpoints, numbered from 1; `reopenAt`: a process ends before it. */
async function run(
  folder: StageFolder,
  retention: CheckpointRetention,
  reopenAt = 0,
): Promise<number[]> {
  let keeper = await CheckpointKeeper.open(folder, retention);
  for (const [i, loss] of LOSSES.entries()) {
    if (i + 1 === reopenAt) keeper = await CheckpointKeeper.open(folder, retention);
    keeper.observe("train", { loss: loss - 1, other: 0 });
    keeper.observe("train", { loss: loss + 1, other: 0 });
    keeper.observe("val", { psnr: -loss });
    await save(keeper, folder, i + 1);
  }
  return await stepsLeft(folder);
}

Deno.test({
  name:
    "CheckpointKeeper keeps the newest, and the best by the monitored metric, also over a restart",
  ignore: ignoreFiles,
  async fn() {
    const byPsnr = { split: "val", metric: "psnr", mode: "max" } as const;
    const cases: [CheckpointRetention, number[]][] = [
      [{ best: 0, monitor: null }, [5, 6]],
      [{ best: 1, monitor: null }, [5, 6]],
      [{ best: Infinity, monitor: null }, [1, 2, 3, 4, 5, 6]],
      [{ best: Infinity, monitor: BY_LOSS }, [1, 2, 3, 4, 5, 6]],
      [{ best: 1, monitor: BY_LOSS }, [2, 5, 6]],
      [{ best: 2, monitor: BY_LOSS }, [2, 4, 5, 6]],
      [{ best: 3, monitor: { ...BY_LOSS, mode: "max" } }, [1, 5, 6]],
      [{ best: 2, monitor: byPsnr }, [2, 4, 5, 6]],
    ];
    for (const [retention, expected] of cases) {
      await inFolder(async (folder) => assertEquals(await run(folder, retention), expected));
      await inFolder(async (folder) => assertEquals(await run(folder, retention, 4), expected));
    }
  },
});

Deno.test({
  name:
    "CheckpointKeeper refuses an unknown metric and a broken list, and forgets another metric's",
  ignore: ignoreFiles,
  async fn() {
    await inFolder(async (folder) => {
      const misspelled = { best: 1, monitor: { ...BY_LOSS, metric: "los" } };
      const keeper = await CheckpointKeeper.open(folder, misspelled);
      assertThrows(
        () => keeper.observe("train", { loss: 1, "perceptual_loss": 2 }),
        UserError,
        "Cannot rank checkpoints by train/los: expected one of train/loss, train/perceptual_loss; the nearest is train/loss",
      );
      await run(folder, { best: 2, monitor: BY_LOSS });
      await run(folder, { best: 1, monitor: { split: "val", metric: "psnr", mode: "min" } });
      assertEquals(await stepsLeft(folder), [5, 6]);
      await Deno.writeTextFile(`${folder.path}/checkpoints/monitor.json`, "{");
      await assertRejects(
        () => CheckpointKeeper.open(folder, { best: 1, monitor: BY_LOSS }),
        UserError,
        "monitor.json: expected JSON",
      );
    });
  },
});
