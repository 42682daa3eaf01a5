/** Tests of weights from one format to another, and of commands that take them. @module */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openTensors } from "../train/files/open_tensors.ts";
import { readFloat32 } from "../train/files/tensor_file.ts";
import { writeSafetensors } from "../train/files/safetensors.ts";
import { allTensors } from "../train/convert_weights.ts";
import { RunFolder } from "../train/run_folder.ts";
import { runCommand } from "./command.ts";
import { readCheckpoint, runTest, trainStage } from "./tiny_run.ts";

async function names(path: string): Promise<string[]> {
  using file = await openTensors(path);
  return [...file.entries.keys()];
}

runTest(
  "convert makes checkpoints of a run for PyTorch and back, and commands take any of them",
  async (gpu, { runs, folder, tokenizerConfig }) => {
    const run = `${runs}/run`;
    const overrides = [
      ...["trainer.max_steps=1", "trainer.limit_val_batches=0"],
      "model.lossconfig.lecam_loss_weight=null",
    ];
    await trainStage(gpu, tokenizerConfig, { run, overrides });
    const checkpoint = await new RunFolder(run).stage("tokenizer").newestCheckpoint();
    const [ckpt, weights] = [`${folder}/a.ckpt`, `${folder}/a.safetensors`];
    const convert = async (...args: string[]): Promise<void> => {
      const { code, stderr } = await runCommand("convert", ...args);
      assertEquals(code, 0, stderr);
    };
    await convert(run, ckpt);
    await convert(ckpt, weights);
    // Every weight is there, bit for bit, averages behind the weights; the state of the training is not.
    const inRun = await names(checkpoint);
    const inCkpt = await names(ckpt);
    assertEquals(
      [...inCkpt].sort(),
      inRun.filter((name) => !/^optimizer|lecam/.test(name)).sort(),
    );
    assert(inCkpt.findIndex((name) => name.startsWith("model_ema.")) > 90);
    assert(inCkpt.slice(-90).every((name) => name.startsWith("model_ema.")));
    // The training goes on from it with the same bits, but for what the reference does not save.
    const goOn = async (from: string, other: string): Promise<Record<string, string>> => {
      const next = ["trainer.max_steps=2", "trainer.limit_val_batches=0", `ckpt_path=${from}`];
      const loss = "model.lossconfig.lecam_loss_weight=null";
      await trainStage(gpu, tokenizerConfig, {
        run: `${runs}/${other}`,
        overrides: [...next, loss],
      });
      const newest = await new RunFolder(`${runs}/${other}`).stage("tokenizer").newestCheckpoint();
      return (await readCheckpoint(newest)).tensors;
    };
    assertEquals(await goOn(ckpt, "from_ckpt"), await goOn(checkpoint, "from_run"));
    using original = await openTensors(checkpoint);
    using converted = await openTensors(weights);
    for (const name of inCkpt) {
      assertEquals(await readFloat32(converted, name), await readFloat32(original, name), name);
    }
    assertEquals(converted.entries.get("model_ema.num_updates")?.dtype, "I32");
    // The same pictures from each, with a line that says what was loaded.
    const draw = async (...args: string[]): Promise<Uint8Array> => {
      const out = `${folder}/out.png`;
      const done = await runCommand("reconstruct", "--count", "2", "--out", out, ...args);
      assertEquals(done.code, 0, done.stderr);
      assertStringIncludes(done.stderr, "averaged tensors loaded, 0 missing, 0 unexpected, 0 of");
      return await Deno.readFile(out);
    };
    const picture = await draw("--run", run);
    assertEquals(await draw("--config", tokenizerConfig, "--ckpt", ckpt), picture);
    assertEquals(await draw("--ckpt", weights), picture);
    await convert(ckpt, `${runs}/other`);
    assertEquals(await draw("--run", `${runs}/other`), picture);
    // A tensor short: refused by name, unless it is said to be enough.
    const short = `${folder}/short.safetensors`;
    const dropped = "model_ema.decoderconv_outbias";
    await writeSafetensors(
      short,
      allTensors(original).filter(({ name }) => name !== dropped),
      { metadata: Object.fromEntries(original.metadata) },
    );
    const refused = await runCommand("reconstruct", "--ckpt", short, "--count", "1");
    assertEquals(refused.code, 2);
    assertStringIncludes(refused.stderr, "1 missing, 0 unexpected, 0 of another shape");
    assertStringIncludes(refused.stderr, `found that ${dropped} is missing`);
    const out = ["--out", `${folder}/partial.png`];
    const partial = await runCommand("reconstruct", "--ckpt", short, "--partial", ...out);
    assertEquals(partial.code, 0, partial.stderr);
  },
);

Deno.test({
  name: "convert and --ckpt say what is missing or does not fit",
  ignore: (await Deno.permissions.query({ name: "read" })).state !== "granted",
  async fn() {
    const ckpt = "tests/golden/ckpt/bad_wrong_shape.ckpt";
    const cases: readonly [args: string[], message: string][] = [
      [["convert", ckpt], "expected IN and OUT, found 1 names"],
      [["convert", ckpt, "runs/x"], "expected --config FILE, as tests/golden/ckpt/bad_wrong"],
      [["convert", "none.ckpt", "x.ckpt"], "Cannot read none.ckpt: no such file"],
      [
        ["convert", ckpt, "x", "--stage", "third"],
        'expected tokenizer or transformer, found "third"',
      ],
      [
        ["reconstruct", "--ckpt", ckpt],
        "expected the tokenizer's configuration beside it, found none",
      ],
      [["reconstruct", "--config", "a", "--run", "b"], "expected --run or --config, found both"],
      [
        ["sample", "--config", "configs/ibq_transformer_B.yaml"],
        "expected a checkpoint as ckpt_path or --ckpt FILE, found none",
      ],
      [
        ["sample", "--config", "configs/ibq_transformer_B.yaml", "--ckpt", ckpt],
        "expected a checkpoint as ckpt_path or --tokenizer-ckpt FILE, found none",
      ],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await runCommand(...args);
      assertEquals(code, 2, stderr);
      assertStringIncludes(stderr, message);
    }
  },
});
