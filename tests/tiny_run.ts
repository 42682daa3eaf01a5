/** Tiny configurations, image folders and runs, for tests of training from end to end. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { CheckpointEntry } from "../train/checkpoint.ts";
import { asTokenizer, asTransformer, parseConfig, resolveConfig } from "../train/config/mod.ts";
import { SafetensorsReader } from "../train/files/safetensors.ts";
import { Reporter } from "../train/log.ts";
import { RunFolder } from "../train/run_folder.ts";
import { trainTokenizer, trainTransformer } from "../train/stages.ts";
import { withFolder } from "./images.ts";
import { gpuTest } from "./op_case.ts";

/** Stage I in its smallest form: 16 × 16 pixels, an 8 × 8 grid of 16 codes. */
export const TINY_TOKENIZER = `
seed_everything: 3
trainer: { max_steps: 5, val_every_n_steps: 3, limit_val_batches: 1, save_every_n_steps: 100, image_every_n_steps: 100 }
model:
  class_path: tessera.models.IBQ
  init_args:
    ddconfig:
      { z_channels: 4, resolution: 16, ch: 8, ch_mult: [1, 1], num_res_blocks: 1, dropout: 0.2, num_groups: 4 }
    lossconfig:
      target: tessera.losses.VQLPIPSWithDiscriminator
      params: { disc_start: 2, disc_num_layers: 1, disc_ndf: 4, gen_loss_weight: 0.1, lecam_loss_weight: 0.05,
        entropy_loss_weight: 0.05, vgg_width: [2, 2, 2, 2, 2] }
    n_embed: 16
    embed_dim: 4
    codebook_init_scale: 0.3
    learning_rate: 1e-3
    use_entropy_loss: true
    use_ema: true
    gradient_clip_val: 1
data:
  init_args:
    batch_size: 2
    num_workers: 0
    train: { target: tessera.data.ImageFolder, params: { path: FOLDER, horizontal_flip: true, random_crop: true } }
`;

/** Stage II in its smallest form, for the tokens of {@linkcode TINY_TOKENIZER}. */
export const TINY_TRANSFORMER = `
seed_everything: 5
trainer: { max_steps: 5, val_every_n_steps: 3, save_every_n_steps: 100, image_every_n_steps: 100, gradient_clip_val: 1 }
model:
  class_path: tessera.models.ClassConditionalTransformer
  init_args:
    learning_rate: 1e-3
    weight_decay: 0.05
    wp: 1
    pkeep: 0.9
    transformer_config:
      params: { n_layer: 2, n_head: 2, n_embd: 16, multiple_of: 16, resid_dropout_p: 0.1, attn_dropout_p: 0.1,
        ffn_dropout_p: 0.1, token_drop: 0.1, drop_path_rate: 0.1 }
    cond_stage_config: { params: {} }
    first_stage_config: null
data:
  init_args:
    batch_size: 2
    num_workers: 0
    train: { target: tessera.data.ImageFolder, params: { path: FOLDER } }
`;

/** Whether tests must do without files. */
export const ignoreFiles: boolean =
  (await Deno.permissions.query({ name: "read" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "write" })).state !== "granted";

/** Two classes of five training images and a validation image each. */
const IMAGES: Readonly<Record<string, number>> = Object.fromEntries(
  ["cats", "dogs"].flatMap((name, label) => [
    ...Array.from({ length: 5 }, (_, i) => [`images/train/${name}/${i}.png`, 10 * label + i]),
    [`images/val/${name}/0.png`, 10 * label + 7],
  ]),
);

/** A temporary folder with images, and where its runs go. */
export interface Workspace {
  /** The folder. */
  readonly folder: string;
  /** The images, one sub-folder a class. */
  readonly images: string;
  /** Where runs are kept. */
  readonly runs: string;
  /** File of {@linkcode TINY_TOKENIZER} with these images. */
  readonly tokenizerConfig: string;
  /** File of {@linkcode TINY_TRANSFORMER} with these images. */
  readonly transformerConfig: string;
}

/**
 * Runs a test body with images and configurations in a temporary folder.
 *
 * @param body The test.
 */
export async function withWorkspace(body: (workspace: Workspace) => Promise<void>): Promise<void> {
  await withFolder(IMAGES, async (folder) => {
    const workspace: Workspace = {
      folder,
      images: `${folder}/images`,
      runs: `${folder}/runs`,
      tokenizerConfig: `${folder}/tokenizer.yaml`,
      transformerConfig: `${folder}/transformer.yaml`,
    };
    const fill = (text: string): string => text.replace("FOLDER", workspace.images);
    await Deno.writeTextFile(workspace.tokenizerConfig, fill(TINY_TOKENIZER));
    await Deno.writeTextFile(workspace.transformerConfig, fill(TINY_TRANSFORMER));
    await body(workspace);
  });
}

/**
 * A test that trains in a workspace of its own and gives back every byte of the GPU.
 *
 * @param name Name of the test.
 * @param body Receives the device and the workspace.
 */
export function runTest(
  name: string,
  body: (gpu: Gpu, workspace: Workspace) => Promise<void>,
): void {
  if (ignoreFiles) Deno.test({ name, ignore: true, fn: () => {} });
  else gpuTest(name, (gpu) => withWorkspace((workspace) => body(gpu, workspace)));
}

/**
 * A signal for a loop that asks it once before each step.
 *
 * @param aborted Receives the number of steps done by this loop; true ends it.
 * @returns The signal.
 */
export function countingSignal(aborted: (steps: number) => boolean): AbortSignal {
  const { signal } = new AbortController();
  let steps = 0;
  Object.defineProperty(signal, "aborted", { get: () => aborted(steps++) });
  return signal;
}

/** How {@linkcode trainStage} trains. */
export interface TrainStageOptions {
  /** Folder of the run; what it holds is continued. */
  readonly run: string;
  /** Texts `key.path=value`. */
  readonly overrides?: readonly string[];
  /** Stops after the running step. */
  readonly signal?: AbortSignal;
  /** Receives what is said. */
  readonly writeLine?: (line: string) => void;
}

/**
 * Trains one stage of a run as the command does.
 *
 * @param gpu The device.
 * @param config File of the configuration.
 * @param options Run, overrides, signal.
 * @returns Whether it came to its end.
 */
export async function trainStage(
  gpu: Gpu,
  config: string,
  options: TrainStageOptions,
): Promise<boolean> {
  const { run, overrides = [], signal = new AbortController().signal, writeLine } = options;
  const source = parseConfig(await Deno.readTextFile(config), config);
  const loaded = resolveConfig(source, { overrides });
  const context = {
    gpu,
    run: new RunFolder(run),
    reporter: new Reporter({ writeLine: writeLine ?? (() => {}) }),
    signal,
  };
  return loaded.config.model.target === "tessera.models.IBQ"
    ? await trainTokenizer(asTokenizer(loaded), context)
    : await trainTransformer(asTransformer(loaded), context);
}

/**
 * Reads the tensors of a checkpoint to be, all at once.
 *
 * @param entries What a learner keeps.
 * @returns Elements in the engine's order of axes, by name; integers keep their bits.
 */
export async function readEntries(
  entries: Iterable<CheckpointEntry>,
): Promise<Record<string, Float32Array>> {
  const list = [...entries];
  const [first] = list;
  if (!first) return {};
  const parts = await first.parameter.gpu.read(list.map(({ parameter }) => parameter.storage));
  return Object.fromEntries(list.map(({ name }, i) => [name, new Float32Array(parts[i]!)]));
}

/** A checkpoint in memory. */
export interface ReadCheckpoint {
  /** Bytes of each tensor as hexadecimal text, by name: equal only if every bit is. */
  readonly tensors: Record<string, string>;
  /** Shape of each tensor in the file. */
  readonly shapes: Record<string, readonly number[]>;
  /** Text by key. */
  readonly metadata: Record<string, string>;
}

/**
 * Reads a whole checkpoint.
 *
 * @param path The file.
 * @returns Its tensors and text.
 */
export async function readCheckpoint(path: string): Promise<ReadCheckpoint> {
  using file = await SafetensorsReader.open(path);
  const tensors: Record<string, string> = {};
  const shapes: Record<string, readonly number[]> = {};
  for (const [name, entry] of file.entries) {
    tensors[name] = (await file.bytes(name)).toHex();
    shapes[name] = entry.shape;
  }
  return { tensors, shapes, metadata: Object.fromEntries(file.metadata) };
}

/**
 * Reads the log of a stage without what differs between equal runs.
 *
 * @param path The stage's folder.
 * @returns The lines about steps, without times, paths and starts.
 */
export async function readLog(path: string): Promise<Record<string, unknown>[]> {
  const lines = (await Deno.readTextFile(`${path}/log.jsonl`)).trim().split("\n");
  return lines.map((line): Record<string, unknown> => JSON.parse(line))
    .filter((line) => line.event === undefined && line.picture === undefined)
    .map(({ timeMs: _time, stepMs: _step, gpuIdleMs: _idle, ...line }) => line);
}
