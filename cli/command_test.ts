import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../train/errors.ts";
import { command as sample } from "./sample.ts";
import { command as reconstruct } from "./reconstruct.ts";
import { command as train } from "./train.ts";
import { parseCommand } from "./command.ts";

Deno.test("parseCommand() knows the reference's names of options, with underscores, dashes and letters", () => {
  const text =
    "--npz -k 0 -p 1.0 -n 50 -t 1.10 --batch_size 50 --cfg_scale 2.25 --model IBQ --global_seed 42 --num_chunks=8 --chunk_idx 3 --o out --classes 207,cats_and_dogs";
  const { values, flags } = parseCommand("sample", sample, text.split(" "));
  assertEquals(flags.npz, true);
  assertEquals({ ...values }, {
    "top-k": "0",
    "top-p": "1.0",
    "per-class": "50",
    temperature: "1.10",
    "batch-size": "50",
    "cfg-scale": "2.25",
    model: "IBQ",
    "global-seed": "42",
    "num-chunks": "8",
    "chunk-idx": "3",
    outdir: "out",
    classes: "207,cats_and_dogs",
  });
  const dashes = parseCommand("sample", sample, ["--n", "8", "--cfg-scale=4"]).values;
  assertEquals({ ...dashes }, { "per-class": "8", "cfg-scale": "4" });
  const shown = "--save_dir visualize --version 1k_IBQ --image_num 50 --image_size 256 my_folder";
  const input = parseCommand("reconstruct", reconstruct, shown.split(" "));
  assertEquals(input.rest, ["my_folder"]);
  assertEquals({ ...input.values }, {
    "save-dir": "visualize",
    version: "1k_IBQ",
    "image-num": "50",
    "image-size": "256",
  });
  for (const unknown of ["--token_factorization", "-x", "--chunk"]) {
    assertThrows(() => parseCommand("sample", sample, [unknown]), UserError, "Cannot run sample");
  }
});

Deno.test("parseCommand() reads train's options as Lightning's command line gives them", () => {
  const text =
    "fit --config a_b.yaml --trainer.max_epochs 3 --model.init_args.learning_rate=1e-3 --ckpt_path x.ckpt data.train=photos --resume";
  const { lists, flags, rest } = parseCommand("train", train, text.split(" "));
  assertEquals([lists.config, flags.resume], [["a_b.yaml"], true]);
  assertEquals(rest, [
    "trainer.max_epochs=3",
    "model.init_args.learning_rate=1e-3",
    "ckpt_path=x.ckpt",
    "data.train=photos",
  ]);
  assertThrows(() => parseCommand("train", train, ["--trainer.max_epochs"]), UserError, "found");
});

Deno.test("the commands refuse combinations of options that would do nothing", () => {
  const refused: readonly (readonly [typeof sample, readonly string[], string])[] = [
    [sample, ["--num_chunks", "2"], "Cannot read --num-chunks: expected --npz beside it"],
    [sample, ["--npz", "--seed", "2"], "Cannot read --seed: expected it without --npz"],
    [sample, ["--npz", "--chunk_idx", "1"], "at least 0 and at most 0"],
    [sample, ["--preset", "M"], "expected B, L, XL, XXL, showcase"],
    [sample, ["--model", "Open-MAGVIT2"], "expected IBQ"],
    [sample, ["-k", "0,0"], 'found "0,0"'],
    [reconstruct, ["--version", "1"], "expected --save-dir beside it"],
    [reconstruct, ["--subset", "list.txt"], "expected a folder of images"],
  ];
  for (const [command, args, message] of refused) {
    const input = parseCommand("sample", command, args);
    assertThrows(() => void command.run(input), UserError, message);
  }
});
