/** The command line as a user meets it: from images to samples, help, Ctrl-C, a machine without adapter. @module */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { NpzReader } from "../train/files/npz.ts";
import { encodePng, readImageHeader } from "../train/image/codec.ts";
import { assertUserError, type CommandOutcome, runCommand, startCommand } from "./command.ts";
import { patternImage } from "./images.ts";
import { ignoreFiles, readCheckpoint, withWorkspace, type Workspace } from "./tiny_run.ts";

const ignore = ignoreFiles || await navigator.gpu?.requestAdapter() === null ||
  (await Deno.permissions.query({ name: "run" })).state !== "granted";

function test(name: string, fn: (workspace: Workspace) => Promise<void>): void {
  const options = { ignore, sanitizeOps: false, sanitizeResources: false };
  Deno.test({ name, ...options, fn: () => withWorkspace(fn) });
}

function assertDone(outcome: CommandOutcome): void {
  assertEquals(outcome.code, 0, outcome.stderr);
}

test("the command line trains both stages, samples, reconstructs and evaluates", async (workspace) => {
  const { folder, images, runs, tokenizerConfig, transformerConfig } = workspace;
  const trained = await startCommand([
    "train",
    ...["--runs", runs, "--config", tokenizerConfig, "--config", transformerConfig],
    ...["trainer.max_steps=3", "trainer.image_every_n_steps=3", "data.num_workers=1"],
  ]).outcome;
  assertDone(trained);
  for (
    const said of [
      /^run .* on /m,
      /^perceptual loss: LPIPS on a random VGG16 \(seed 0, 2-2-2-2-2 channels\)/m,
      /^tokenizer epoch 1\/1 {2}step 3\/3 .*total_loss .*images\/s {2}ETA/m,
      /^encoding 12 images into tokens$/m,
      /^transformer epoch 1\/1 {2}step 3\/3 {2}loss/m,
      /^done: .*\nnext: deno task sample /m,
    ]
  ) assertMatch(trained.stderr, said);
  assertEquals(trained.stdout, "");
  const [run, ...others] = Array.from(Deno.readDirSync(runs), (entry) => `${runs}/${entry.name}`);
  assert(run !== undefined && others.length === 0);
  const files = (path: string): string[] =>
    Array.from(Deno.readDirSync(`${run}/${path}`), (entry) => entry.name).sort();
  assertEquals(files("tokenizer"), ["checkpoints", "config.yaml", "images", "log.jsonl"]);
  assertEquals(files("tokenizer/images"), ["reconstructions-00000003.png"]);
  assertEquals(files("transformer/images"), ["samples-00000003.png"]);
  assertEquals(files("transformer"), [
    "checkpoints",
    "config.yaml",
    "images",
    "log.jsonl",
    "tokens",
  ]);

  // The images are not needed any more, but for evaluating.
  await Deno.rename(images, `${folder}/moved`);
  const sheet = `${folder}/sheet.png`;
  const sampled = await runCommand("sample", "--runs", runs, "--per-class", "2", "--out", sheet);
  assertDone(sampled);
  const settings = `${run}/samples/top_k_0_temp_1.00_top_p_1.0_cfg_2.0/step-00000003.safetensors`;
  assertEquals(sampled.stdout, `${sheet}\n${settings}\n`);
  assertEquals(files(`${settings.slice(run.length + 1)}/1`), ["000000.png", "000001.png"]);
  assert(readImageHeader(await Deno.readFile(sheet)).width > 2 * 64);
  const image = `${folder}/moved/train/cats/0.png`;
  const chunk = "--npz -n 2 --cfg_scale 1.5 --global_seed 7 --num_chunks 2 --batch_size 3".split(
    " ",
  );
  const outdir = `${folder}/out`;
  const part = ["--run", run, "-o", outdir, "--chunk_idx", "1"];
  assertDone(await runCommand("sample", ...chunk, ...part));
  const logdir = `${outdir}/samples/top_k_0_temp_1.00_top_p_1.0_cfg_1.5/step-00000003.safetensors`;
  const combined = await runCommand("combine", "--logdir", logdir);
  assertDone(combined);
  assertEquals(combined.stdout, `${logdir}/sample.npz\n`);
  {
    using file = await NpzReader.open(`${logdir}/sample.npz`);
    assertEquals(file.entry("arr_0").shape, [2, 16, 16, 3]);
  }
  // Of any size: those of the training are 40 × 30, this one has odd sides.
  const odd = `${folder}/moved/train/cats/odd.png`;
  await Deno.writeFile(odd, encodePng(patternImage({ width: 33, height: 21 }, 1)));
  await Deno.writeTextFile(`${folder}/moved/train/cats/broken.png`, "no image");
  const whole = `${folder}/moved/train`;
  const reconstructed = await runCommand(
    ...["reconstruct", "--run", run, "--save_dir", outdir, "--version", "v1", image, whole],
  );
  assertDone(reconstructed);
  assertEquals(reconstructed.stdout, `${run}/reconstructions.png\n${outdir}/v1\n`);
  assert(reconstructed.stderr.includes(`warning: Cannot read image ${whole}/cats/broken.png`));
  assertMatch(reconstructed.stderr, /^12 images, \d+\.\d\d dB$/m);
  for (const part of ["original", "rec"]) {
    const header = readImageHeader(await Deno.readFile(`${outdir}/v1/${part}/cats/odd.png`));
    assertEquals([header.width, header.height], [33, 21]);
  }
  const beside = Array.from(Deno.readDirSync(`${outdir}/v1/side_by_side/dogs`));
  assertEquals(beside.length, 5);
  await Deno.remove(odd);
  await Deno.remove(`${folder}/moved/train/cats/broken.png`);
  assertUserError(
    await runCommand("evaluate", "--runs", runs),
    `Cannot read the image folder ${images}`,
  );
  await Deno.rename(`${folder}/moved`, images);
  const evaluated = await runCommand("evaluate", "--runs", runs, "--samples-per-class", "2");
  assertDone(evaluated);
  for (
    const line of [
      /^reconstruction +\d+\.\d\d dB PSNR$/m,
      /^mean training image +\d+\.\d\d dB PSNR$/m,
      /^codes used +\d+\.\d % of 16$/m,
      /^stage-II validation loss +\d\.\d{4} nats a token$/m,
      /^unigram entropy +\d\.\d{4} nats a token .* % under it$/m,
      /^samples nearest own class \d+\.\d % of 4, \d\.\d\d times chance \(50\.0 %\), guidance 2$/m,
    ]
  ) assertMatch(evaluated.stdout, line);
});

test("plan says what a step takes and what would make it fit; train takes auto as batch size", async (workspace) => {
  const { runs, tokenizerConfig } = workspace;
  const plan = (...rest: string[]) => runCommand("plan", "--config", tokenizerConfig, ...rest);
  const planned = await plan("--batch", "4", "--no-time");
  assertDone(planned);
  for (
    const line of [
      /^.*tokenizer\.yaml on .*: a training step of 4 images, f32$/m,
      /^quantize +64 parameters +0\.0 MiB$/m,
      /^EMA( +\d+\.\d MiB){2}$/m,
      /^predicted peak +\d+\.\d MiB$/m,
      /^in all +fits: \d+\.\d MiB of \d+\.\d\d GiB$/m,
    ]
  ) assertMatch(planned.stdout, line);
  const small = await plan("--memory", "0.0001", "--no-time", "data.batch_size=auto");
  assertEquals(small.code, 1, small.stderr);
  assertMatch(small.stdout, /^not even one image fits$/m);
  assertMatch(small.stdout, /^in all +DOES NOT FIT/m);
  assertUserError(await runCommand("plan"), "Cannot plan: expected --config FILE, found none");

  const run = `${runs}/auto`;
  const overrides = ["data.batch_size=auto", "trainer.max_steps=1"];
  const trained = await runCommand(
    ...["train", "--run", run, "--config", tokenizerConfig, ...overrides],
  );
  assertDone(trained);
  assertMatch(trained.stderr, /^batch size 10: the largest that fits, of at most 10 images$/m);
  assertMatch(await Deno.readTextFile(`${run}/tokenizer/config.yaml`), /^ +batch_size: 10$/m);
});

test("train stops at Ctrl-C with a checkpoint, says how to resume, and resumes", async (workspace) => {
  const { runs, tokenizerConfig, images } = workspace;
  const endless = ["train", "--runs", runs, "--config", tokenizerConfig, "trainer.max_steps=-1"];
  const training = startCommand([...endless, "trainer.val_every_n_steps=1"]);
  await training.said("step 2, validation/");
  training.process.kill("SIGINT");
  const stopped = await training.outcome;
  assertEquals(stopped.code, 130, stopped.stderr);
  assert(stopped.stderr.includes("stopping after this step"));
  const [, command] = /^stopped; continue with: deno task (.*)$/m.exec(stopped.stderr) ?? [];
  assert(command !== undefined, stopped.stderr);
  const run = command.split(" ").at(-1)!;
  const [saved] = Array.from(Deno.readDirSync(`${run}/tokenizer/checkpoints`));
  const steps = Number(/^step-(\d{8})\.safetensors$/.exec(saved!.name)![1]);
  assert(steps >= 2);
  const resumed = await runCommand(...command.split(" "), `trainer.max_steps=${steps + 1}`);
  assertDone(resumed);
  assert(resumed.stderr.includes(`tokenizer: resumed ${run}/tokenizer/checkpoints/${saved!.name}`));
  const path = `step-${String(steps + 1).padStart(8, "0")}.safetensors`;
  const { metadata } = await readCheckpoint(`${run}/tokenizer/checkpoints/${path}`);
  assertEquals(metadata.step, String(steps + 1));
  assert(metadata.config!.includes(images));
});

test("train killed while saving leaves the checkpoint before, and resumes from it", async (workspace) => {
  const { runs, tokenizerConfig } = workspace;
  const run = `${runs}/killed`;
  const folder = `${run}/tokenizer/checkpoints`;
  await Deno.mkdir(folder, { recursive: true });
  // A pipe in place of the file to be: who writes it waits for a reader, in the middle of saving.
  const partial = `${folder}/.step-00000002.safetensors.partial`;
  assert((await new Deno.Command("mkfifo", { args: [partial] }).output()).success);
  const overrides = ["trainer.max_steps=2", "trainer.save_every_n_steps=1"];
  const training = startCommand(
    ["train", "--run", run, "--config", tokenizerConfig, ...overrides],
  );
  const pipe = await Deno.open(partial);
  assert(await pipe.read(new Uint8Array(100)) === 100);
  training.process.kill("SIGKILL");
  await training.outcome;
  pipe.close();
  await Deno.remove(partial);
  await Deno.writeTextFile(partial, "cut short");
  const names = (): string[] => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
  assertEquals(names(), [".step-00000002.safetensors.partial", "step-00000001.safetensors"]);
  const resumed = await runCommand("train", "--resume", "--runs", runs);
  assertDone(resumed);
  assert(resumed.stderr.includes("resumed"), resumed.stderr);
  assertEquals(names(), ["step-00000001.safetensors", "step-00000002.safetensors"]);
});

test("train on a full disk keeps the checkpoint before and says so", async (workspace) => {
  const { runs, tokenizerConfig } = workspace;
  const run = `${runs}/full`;
  const folder = `${run}/tokenizer/checkpoints`;
  await Deno.mkdir(folder, { recursive: true });
  await Deno.symlink("/dev/full", `${folder}/.step-00000002.safetensors.partial`);
  const overrides = ["trainer.max_steps=2", "trainer.save_every_n_steps=1"];
  const outcome = await runCommand(
    ...["train", "--run", run, "--config", tokenizerConfig, ...overrides],
  );
  const path = `${folder}/step-00000002.safetensors`;
  assertUserError(outcome, `Cannot write ${path}: no space left on device`);
  const { metadata } = await readCheckpoint(`${folder}/step-00000001.safetensors`);
  assertEquals(metadata.step, "1");
});

test("train ends with exit code 1 where numbers are not finite and keeps the last checkpoint", async (workspace) => {
  const { runs, tokenizerConfig } = workspace;
  const run = `${runs}/explodes`;
  const config = ["--run", run, "--config", tokenizerConfig];
  const overrides = ["trainer.save_every_n_steps=1", "trainer.max_steps=9"];
  const outcome = await runCommand("train", ...config, ...overrides, "model.learning_rate=1e30");
  assertEquals(outcome.code, 1);
  const [, operation, step, checkpoint] =
    /^error: Cannot continue training: expected finite numbers, found NaN or infinity in (.+) of step (\d+); the last good checkpoint is (.+)$/m
      .exec(outcome.stderr) ?? [];
  assert(operation !== undefined && operation !== "the optimizer", outcome.stderr);
  assert(!/^\s+at /m.test(outcome.stderr));
  const before = String(Number(step) - 1);
  const { metadata } = await readCheckpoint(checkpoint!);
  assertEquals(metadata.step, before);
  const lines = (await Deno.readTextFile(`${run}/tokenizer/log.jsonl`)).trim().split("\n");
  assertEquals(JSON.parse(lines.at(-1)!), { step: Number(step), event: "not finite", operation });
});

test("every command without an adapter says so in one line", async () => {
  const backend = Deno.build.os === "linux" ? "dx12" : "vulkan";
  const { outcome } = startCommand(["train"], { env: { DENO_WEBGPU_BACKEND: backend } });
  assertUserError(await outcome, "expected a WebGPU adapter, found none; install a Vulkan driver");
});

Deno.test("main() helps with every command", async () => {
  const usage = await runCommand("--help");
  assertEquals([usage.code, usage.stderr], [0, ""]);
  for (const command of ["train", "sample", "reconstruct", "evaluate", "weights", "combine"]) {
    assert(usage.stdout.includes(`\n  ${command} `));
    const help = await runCommand(command, "--help");
    assertEquals([help.code, help.stderr], [0, ""]);
    assert(help.stdout.includes(`Usage: deno task ${command} `));
  }
  assertEquals((await runCommand()).code, 2);
});

Deno.test("main() refuses commands and options that do not exist, and values that make no sense", async () => {
  const refused: readonly (readonly [readonly string[], string])[] = [
    [["trian"], 'Cannot run "trian": expected one of train, plan, sample'],
    [["constructor"], 'Cannot run "constructor": expected one of train'],
    [
      ["train", "--resum"],
      'expected one of --config, --run, --runs, --profile-steps, --profile-out, --resume, --profile, --debug, --help, found "--resum"',
    ],
    [["train", "--config"], "expected a value after --config, found none"],
    [["train", "--config", "--resume"], "expected a value after --config, found none"],
    [["sample", "--out="], "expected a value after --out, found none"],
    [["sample", "extra"], 'expected options only, found "extra"'],
    [
      ["sample", "--per-class", "0"],
      'Cannot read --per-class: expected a whole number at least 1, found "0"',
    ],
    [["sample", "--per-class", "1.5"], 'found "1.5"'],
    [["sample", "--per-class", "few"], 'found "few"'],
    [["sample", "--temperature", "0"], 'expected a number above 0, found "0"'],
    [["sample", "--precision", "f8"], 'Cannot read --precision: expected f32 or f16, found "f8"'],
    [["sample", "--kv-cache", "u8"], 'Cannot read --kv-cache: expected f32 or f16, found "u8"'],
    [["sample", "--top-p", "1.1"], 'expected a number at least 0 and at most 1, found "1.1"'],
    [["evaluate", "--seed", "-1"], "--seed"],
  ];
  for (const [args, message] of refused) {
    const outcome = await runCommand(...args);
    assertUserError(outcome, message);
  }
  const debug = await runCommand("sample", "--per-class", "0", "--debug");
  assertEquals(debug.code, 2);
  assertMatch(debug.stderr, /^\s+at /m);
});
