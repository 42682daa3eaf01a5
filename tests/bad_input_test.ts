/** What users get wrong: each is refused with one clear message and exit code 2, and nothing is lost. @module */

import { assert, assertEquals } from "@std/assert";
import { assertUserError, type CommandOutcome, runCommand } from "./command.ts";
import { ignoreFiles, readCheckpoint, withWorkspace, type Workspace } from "./tiny_run.ts";

const ignore = ignoreFiles || await navigator.gpu?.requestAdapter() === null;

function test(name: string, fn: (workspace: Workspace) => Promise<void>): void {
  const options = { ignore, sanitizeOps: false, sanitizeResources: false };
  Deno.test({ name, ...options, fn: () => withWorkspace(fn) });
}

/** Everything in a folder: paths, sizes, times of change. */
function contents(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder)).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) return contents(path);
    const { size, mtime } = Deno.statSync(path);
    return [`${path} ${size} ${mtime?.getTime()}`];
  }).sort();
}

test("train refuses configurations and data that cannot be, and leaves no run behind", async (workspace) => {
  const { folder, runs, tokenizerConfig } = workspace;
  const train = (...overrides: string[]): Promise<CommandOutcome> =>
    runCommand("train", "--runs", runs, "--config", tokenizerConfig, ...overrides);
  await Deno.mkdir(`${folder}/empty`);
  await Deno.mkdir(`${folder}/broken/a`, { recursive: true });
  for (let i = 0; i < 8; i++) await Deno.writeTextFile(`${folder}/broken/a/${i}.png`, "no image");
  await Deno.writeTextFile(`${folder}/bad.yaml`, "trainer: [1");
  await Deno.writeTextFile(`${folder}/two.yaml`, await Deno.readTextFile(tokenizerConfig));
  const refused: readonly (readonly [readonly string[], string])[] = [
    [["model.ddconfig.chh=3"], "unknown key in"],
    [["model.n_embed=many"], 'n_embed: expected a whole number of at least 1, found "many"'],
    [["model.ddconfig.ch=6"], "expected channels that num_groups 4 divides, found 6 x 1 = 6"],
    [["model.ddconfig.resolution=17"], "expected a multiple of 2"],
    [["model.n_embed=1000000000", "model.embed_dim=1024"], "n_embed: expected a codebook whose"],
    [["model.ddconfig.ch=6", "model.ddconfig.ch_mult=[2, 2]"], "found 6 x 1 = 6"],
    [["data.train.size=8"], "perceptual_weight: expected 0 for images other than 3 channels"],
    [
      [`data.validation={target: tessera.data.ImageFolder, params: {path: ${folder}, size: 32}}`],
      "data.init_args.validation: expected the size of the training images, 16, found 32",
    ],
    [["model.stage=transformer"], "expected null as model.init_args.stage, found transformer"],
    [["data.batch_size=1000"], "use a smaller batch size"],
    [[`data.train=${folder}/none`], `Cannot read the image folder ${folder}/none: no such file`],
    [[`data.train=${folder}/empty`], `Cannot use the image folder ${folder}/empty: expected`],
    [
      [`data.train=${folder}/broken`],
      "that cannot be read (Cannot decode the image: expected a PNG or JPEG file",
    ],
    [["ckpt_path=none.safetensors"], "Cannot read none.safetensors: no such file or folder"],
    [["model.ckpt_path=none.safetensors"], "Cannot read none.safetensors: no such file or folder"],
    [["model.lossconfig.vgg_weights=none", "model.lossconfig.vgg_width=1"], "Cannot read none: no"],
    [["--profile-steps", "2"], "Cannot read --profile-steps: expected --profile beside it"],
    [["--profile", "--profile-steps", "0"], "Cannot read --profile-steps: expected a whole number"],
    [["--config", `${folder}/none.yaml`], `Cannot read config ${folder}/none.yaml: no such file`],
    [["--config", `${folder}/bad.yaml`], `Cannot read config ${folder}/bad.yaml: expected YAML`],
    [
      ["--config", `${folder}/two.yaml`],
      `expected one config for each stage, found ${tokenizerConfig}`,
    ],
    [["trainer.max_steps"], "expected key.path=value"],
  ];
  for (const [overrides, message] of refused) assertUserError(await train(...overrides), message);
  assertUserError(
    await runCommand("train", "--runs", runs, "--config", workspace.transformerConfig),
    "expected --run FOLDER with a trained tokenizer, or its checkpoint as",
  );
  assertUserError(
    await runCommand("train", "--resume", "--runs", runs),
    `Cannot open a run: expected one in ${runs}, found none`,
  );
  assertUserError(
    await runCommand("train", "--resume", "--run", `${folder}/none`),
    `Cannot open run ${folder}/none: expected a started stage in it, found none`,
  );
  assertUserError(
    await runCommand("sample", "--runs", runs),
    `Cannot open a run: expected one with a transformer checkpoint in ${runs}, found none`,
  );
  assertUserError(
    await runCommand("reconstruct", "--run", tokenizerConfig),
    `Cannot open run ${tokenizerConfig}: expected a tokenizer checkpoint in it, found none`,
  );
  const left = await Array.fromAsync(Deno.readDir(runs)).catch(() => []);
  assertEquals(left, []);
});

/** A configuration of stage II that describes the tokenizer of stage I with another size of the codebook. */
async function withTokenizer(
  { folder, tokenizerConfig, transformerConfig }: Workspace,
  codes: string,
): Promise<string> {
  const text = await Deno.readTextFile(tokenizerConfig);
  const params = text.slice(text.indexOf("    ddconfig:"), text.indexOf("data:"))
    .replace("n_embed: 16", codes);
  const config = (await Deno.readTextFile(transformerConfig)).replace(
    "first_stage_config: null",
    `first_stage_config:\n      params:\n${params.replaceAll(/^/gm, "    ").trimEnd()}`,
  );
  const path = `${folder}/with_tokenizer.yaml`;
  await Deno.writeTextFile(path, config);
  return path;
}

test("train refuses before stage I what would end stage II", async (workspace) => {
  const { folder, runs, tokenizerConfig, transformerConfig } = workspace;
  const other = await withTokenizer(workspace, "n_embed: 32");
  const own = `model.first_stage_config.ckpt_path`;
  const ckpt = "tests/golden/ckpt/tokenizer_f32.ckpt";
  const codebook = "transformer.model.transformer_config.params";
  const both = ["--config", tokenizerConfig, "--config", transformerConfig];
  const refused: readonly (readonly [readonly string[], string])[] = [
    [["--config", tokenizerConfig, "--config", other], "expected null as first_stage_config or"],
    [["--config", other, `${own}=none.ckpt`], "Cannot read none.ckpt: no such file or folder"],
    [["--config", other, `${own}=${ckpt}`], `Cannot load ${ckpt}: expected the tensors of the`],
    [[...both, "transformer.model.ckpt_path=none.ckpt"], "Cannot read none.ckpt: no such file"],
    [[...both, "transformer.ckpt_path=none.ckpt"], "Cannot read none.ckpt: no such file or folder"],
    [
      [...both, "transformer.ckpt_path=tests/golden/training/tokenizer.ckpt"],
      "expected 1 optimizers, found 2",
    ],
    [
      [
        ...both,
        `${codebook}.use_pretrained_codebook=true`,
        `${codebook}.codebook_ckpt_path=${ckpt}`,
      ],
      "quantize.embedding.weight has shape [16,4] instead of [16,256]",
    ],
    [[...both, `transformer.data.train=${folder}/none`], "Cannot read the image folder"],
    [[...both, "transformer.data.batch_size=1000"], "use a smaller batch size"],
    [[...both, `${codebook}.class_num=7`], "class_num: expected"],
  ];
  for (const [args, message] of refused) {
    const outcome = await runCommand("train", "--runs", runs, ...args);
    assertUserError(outcome, message);
    assert(!outcome.stderr.includes("tokenizer epoch"), outcome.stderr);
  }
  assertEquals(await Array.fromAsync(Deno.readDir(runs)), []);
});

test("commands refuse damaged checkpoints and what a run does not have, and change nothing", async (workspace) => {
  const { folder, runs, tokenizerConfig, transformerConfig } = workspace;
  const run = `${runs}/good`;
  const trained = await runCommand(
    ...["train", "--run", run, "--config", tokenizerConfig, "--config", transformerConfig],
    ...["trainer.max_steps=2", "trainer.image_every_n_steps=1000"],
  );
  assertEquals(trained.code, 0, trained.stderr);
  const checkpoint = (stage: string): string =>
    `${run}/${stage}/checkpoints/step-00000002.safetensors`;
  const before = contents(run);
  const resume = (...overrides: string[]): Promise<CommandOutcome> =>
    runCommand("train", "--resume", "--run", run, ...overrides);

  assertUserError(await runCommand("train", "--run", run), "continue it with --resume");
  assertUserError(
    await resume("tokenizer.model.ddconfig.ch=16"),
    `Cannot load ${
      checkpoint("tokenizer")
    }: expected the tensors of the configured model, found that `,
  );
  assertUserError(
    await resume("--config", tokenizerConfig),
    "expected one config for each stage, found",
  );
  assertUserError(
    await runCommand("sample", "--run", run, "--classes", "cats,7"),
    "Cannot sample class 7: expected a number from 0 to 1 or one of cats, dogs",
  );
  assertUserError(await runCommand("sample", "--run", run, "--classes", "birds"), "class birds");
  assertUserError(await runCommand("sample", "--run", run, "--classes", ","), 'found ","');
  assertUserError(
    await runCommand("sample", "--run", run, "--out", `${folder}/none/a.png`),
    `Cannot write ${folder}/none/a.png: no such file or folder`,
  );
  assertUserError(
    await runCommand("reconstruct", "--run", run, tokenizerConfig),
    `Cannot read image ${tokenizerConfig}: expected a PNG or JPEG file, found that`,
  );
  assertUserError(
    await runCommand("reconstruct", "--run", run, `${folder}/none.png`),
    `Cannot read image ${folder}/none.png`,
  );
  assertEquals(contents(run), before);

  const tokens = before.map((line) => line.split(" ")[0]!).find((path) =>
    path.startsWith(`${run}/transformer/tokens/`) && path.endsWith(".safetensors")
  );
  assert(tokens !== undefined, "expected cached tokens");
  for (const stage of ["tokenizer", "transformer"]) {
    const path = checkpoint(stage);
    const whole = await Deno.readFile(path);
    const damaged: readonly (readonly [Uint8Array, string])[] = [
      [whole.subarray(0, whole.length - 100), `expected a file of ${whole.length} bytes, found`],
      [whole.subarray(0, 5), `Cannot read ${path}`],
      [new TextEncoder().encode("this is not a checkpoint, it is a text"), `Cannot read ${path}`],
      [await Deno.readFile(tokens), "found tessera.tokens"],
    ];
    for (const [bytes, message] of damaged) {
      await Deno.writeFile(path, bytes);
      assertUserError(await resume(), message);
      assertUserError(await runCommand("sample", "--run", run), message);
      assertEquals((await Deno.readFile(path)).length, bytes.length);
    }
    await Deno.writeFile(path, whole);
  }
  const resumed = await resume("trainer.max_steps=3");
  assertEquals(resumed.code, 0, resumed.stderr);
});

test("train warns of options that do nothing, and starts from other weights", async (workspace) => {
  const { runs, tokenizerConfig, transformerConfig } = workspace;
  const first = `${runs}/first`;
  const short = ["trainer.max_steps=1", "trainer.image_every_n_steps=1000"];
  const [from, to] = ["step-00000001", "step-00000001"].map((name) => `${name}.safetensors`);
  const train = async (...args: string[]): Promise<string> => {
    const outcome = await runCommand("train", ...args, ...short);
    assertEquals(outcome.code, 0, outcome.stderr);
    return outcome.stderr;
  };
  await train("--run", first, "--config", tokenizerConfig, "model.ema_decay=0");
  const start = `${first}/tokenizer/checkpoints/${from}`;
  await train(
    ...["--run", `${runs}/second`, "--config", tokenizerConfig],
    ...[`model.ckpt_path=${start}`, "model.learning_rate=0", "trainer.limit_val_batches=0"],
  );
  const given = await readCheckpoint(start);
  const taken = await readCheckpoint(`${runs}/second/tokenizer/checkpoints/${to}`);
  for (const name of ["encoder.conv_in.weight", "quantize.embedding.weight"]) {
    assertEquals(taken.tensors[name], given.tensors[name], name);
    const average = `model_ema.${name.replaceAll(".", "")}`;
    assertEquals(taken.tensors[average], given.tensors[name], average);
  }
  const log = await Deno.readTextFile(`${runs}/second/tokenizer/log.jsonl`);
  assert(!log.includes("validation"), "limit_val_batches 0 is no validation");

  const said = await train(
    ...["--run", first, "--config", transformerConfig, "data.train.horizontal_flip=true"],
    ...[
      "model.transformer_config.use_pretrained_codebook=true",
      "model.transformer_config.n_codebook_embd=4",
    ],
    ...["model.learning_rate=0", "model.weight_decay=0"],
    ...["trainer.precision=bf16-mixed", "trainer.strategy=ddp"],
  );
  assert(said.includes("warning: No horizontal_flip in stage II"), said);
  assert(said.includes("warning: No bfloat16"), said);
  assert(said.includes("warning: Ignored options of"), said);
  assert(said.includes("trainer.strategy"), said);
  const transformer = await readCheckpoint(`${first}/transformer/checkpoints/${to}`);
  assertEquals(
    transformer.tensors["transformer.tok_emb.weight"],
    given.tensors["quantize.embedding.weight"],
  );
  const other = await withTokenizer(workspace, "n_embed: 32");
  await Deno.remove(`${first}/transformer`, { recursive: true });
  assertUserError(
    await runCommand("train", "--run", first, "--config", other),
    "expected null as first_stage_config or the configuration of the run's own tokenizer",
  );
});
