/** Tests of run folders: which run is the newest, what counts as a checkpoint. @module */

import { assertEquals, assertRejects } from "@std/assert";
import { withFolder } from "../tests/images.ts";
import { ignoreFiles } from "../tests/tiny_run.ts";
import { UserError } from "./errors.ts";
import { RunFolder, StageFolder } from "./run_folder.ts";

function file(run: string, stage: string, step: number): string {
  return `${run}/${stage}/checkpoints/step-${String(step).padStart(8, "0")}.safetensors`;
}

const BYTES = Uint8Array.of(1);

Deno.test({
  name: "RunFolder.open() takes the run that changed last among those that have what is needed",
  ignore: ignoreFiles,
  fn: () =>
    withFolder({
      [file("z", "tokenizer", 1)]: BYTES,
      [file("b", "tokenizer", 1)]: BYTES,
      [file("b", "transformer", 1)]: BYTES,
      [file("a", "tokenizer", 10)]: BYTES,
      [file("a", "transformer", 10)]: BYTES,
      "started/tokenizer/config.yaml": BYTES,
      "empty/notes.txt": BYTES,
      "loose.txt": BYTES,
    }, async (folder) => {
      const touch = (path: string, seconds: number) => Deno.utime(`${folder}/${path}`, 0, seconds);
      await touch(file("z", "tokenizer", 1), 300);
      await touch(file("b", "tokenizer", 1), 100);
      await touch(file("b", "transformer", 1), 150);
      await touch(file("a", "tokenizer", 10), 200);
      await touch(file("a", "transformer", 10), 120);
      await touch("started/tokenizer/config.yaml", 400);
      const nameOf = async (options: Parameters<typeof RunFolder.open>[1]) =>
        (await RunFolder.open(folder, options)).path.slice(folder.length + 1);
      assertEquals(await nameOf({}), "started");
      assertEquals(await nameOf({ needs: "tokenizer" }), "z");
      assertEquals(await nameOf({ needs: "transformer" }), "b");
      const path = `${folder}/a`;
      assertEquals((await RunFolder.open("", { path, needs: "transformer" })).path, path);
      for (const name of ["empty", "none", "loose.txt"]) {
        const error = await assertRejects(
          () => RunFolder.open("", { path: `${folder}/${name}` }),
          UserError,
        );
        assertEquals(
          error.message,
          `Cannot open run ${folder}/${name}: expected a started stage in it, found none`,
        );
      }
      await assertRejects(
        () => RunFolder.open(`${folder}/none`),
        UserError,
        "found none; train one",
      );
    }),
});

Deno.test({
  name: "StageFolder lists whole checkpoints by step and removes old ones",
  ignore: ignoreFiles,
  fn: () =>
    withFolder({
      [file(".", "a", 9)]: BYTES,
      [file(".", "a", 10)]: BYTES,
      [file(".", "a", 100)]: BYTES,
      "a/checkpoints/.step-00000200.safetensors.partial": BYTES,
      "a/checkpoints/best.safetensors": BYTES,
    }, async (folder) => {
      const stage = new StageFolder(`${folder}/a`);
      const all = [9, 10, 100].map((step) => stage.checkpointFile(step));
      assertEquals(await stage.checkpoints(), all);
      assertEquals(await stage.newestCheckpoint(), all[2]);
      const empty = new StageFolder(`${folder}/b`);
      assertEquals(await empty.checkpoints(), []);
      await assertRejects(() => empty.newestCheckpoint(), UserError, "found none");
    }),
});

Deno.test({
  name: "RunFolder.create() names runs by time, and names in use with a number",
  ignore: ignoreFiles,
  fn: () =>
    withFolder({ "file": BYTES }, async (folder) => {
      const now = new Date(2031, 0, 2, 3, 4, 5);
      const names = [];
      for (let i = 0; i < 3; i++) names.push((await RunFolder.create(`${folder}/runs`, now)).path);
      const first = `${folder}/runs/2031-01-02_03-04-05`;
      assertEquals(names, [first, `${first}_2`, `${first}_3`]);
      await assertRejects(() => RunFolder.create(`${folder}/file`, now), UserError, "Cannot make");
      await new RunFolder(`${first}_2`).discardUnstarted();
      await Deno.mkdir(`${first}_3/tokenizer`);
      await Deno.writeTextFile(`${first}_3/tokenizer/log.jsonl`, "{}\n{}\n");
      await new RunFolder(`${first}_3`).discardUnstarted();
      const left = Array.from(Deno.readDirSync(`${folder}/runs`), ({ name }) => name).sort();
      assertEquals(left, ["2031-01-02_03-04-05", "2031-01-02_03-04-05_3"]);
    }),
});
