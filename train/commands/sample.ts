/** `deno task sample`: sampled images in a file for evaluation, or as pictures with a labeled sheet. @module */

import { basename, join } from "node:path";
import type { Gpu } from "../../kernels/gpu.ts";
import { CompileAhead } from "../compile_ahead.ts";
import { UserError } from "../errors.ts";
import { requireFolderOf } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { printResult, type Reporter } from "../log.ts";
import { openGpu } from "../open_gpu.ts";
import { type ModelSelection, selectModels } from "../model_sources.ts";
import { openTokenizer, openTransformer } from "../open_models.ts";
import { profileBatches, type ProfileRequest } from "../profile_session.ts";
import { isEveryClass, selectClasses } from "./classes.ts";
import { type Chunk, classesOfChunk, sampleChunk } from "./sample_chunk.ts";
import { samplePictures } from "./sample_pictures.ts";
import { type SamplePreset, settingsFolder } from "./sample_settings.ts";

/** What the command line says. */
export interface SampleCommand extends ModelSelection, SamplePreset {
  /** Classes by name or number, separated by commas; undefined for all. */
  readonly classes: string | undefined;
  /** Seed of the first image of pictures. */
  readonly seed: number;
  /** The chunk to write for evaluation; undefined for pictures. */
  readonly chunk: Chunk | undefined;
  /** Images at once. */
  readonly batchSize: number;
  /** Type in which the transformer's weights are kept. */
  readonly precision: "f32" | "f16";
  /** Type in which keys and values are kept. */
  readonly cacheType: "f32" | "f16";
  /** Folder of the folder `samples`; undefined for that of the run. */
  readonly outFolder: string | undefined;
  /** The sheet. */
  readonly out: string | undefined;
  /** Whether and how to profile. */
  readonly profile: ProfileRequest | undefined;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/**
 * Samples.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If there is no such run or class, or a file cannot be written.
 */
export async function runSample(command: SampleCommand): Promise<number> {
  const { reporter, perClass, chunk, batchSize } = command;
  if (command.out !== undefined) await requireFolderOf(command.out);
  const selected = await selectModels(command);
  const home = selected.run?.path ?? ".";
  using ahead = new CompileAhead();
  using gpu = await openGpu(ahead);
  requireTypes(gpu, command);
  const say = (line: string): void => reporter.info(line);
  const opened = await openTransformer(gpu, selected.transformer, {
    precision: command.precision,
    say,
  });
  using transformer = opened.transformer;
  const { classNames } = opened;
  const openedTokenizer = await openTokenizer(gpu, selected.tokenizer, { say });
  using tokenizer = openedTokenizer.tokenizer;
  const wanted = selectClasses(command.classes, classNames);
  const listed = !isEveryClass(command.classes);
  const labels = chunk ? classesOfChunk(wanted, chunk, { listed }) : wanted;
  if (labels.length === 0) {
    throw new UserError(
      `Cannot sample chunk ${chunk?.index} of ${chunk?.chunks}: expected a class for each chunk, found ${wanted.length} classes`,
    );
  }
  reporter.info(
    `sampling ${labels.length * perClass} images of ${
      selected.run?.path ?? opened.checkpoint
    } on ${gpu.adapter.name}`,
  );
  const profile = profileBatches(gpu, command.profile, {
    batches: chunk
      ? labels.length * Math.ceil(perClass / batchSize)
      : Math.ceil((labels.length * perClass) / batchSize),
    path: join(home, "profile-sampling.json"),
    say,
  });
  const folder = join(
    command.outFolder ?? home,
    "samples",
    settingsFolder(command),
    basename(opened.checkpoint),
  );
  const models = { gpu, transformer, tokenizer };
  const shared = { ...command, labels, folder, onBatch: () => profile?.step() };
  const results = chunk
    ? [
      await sampleChunk(models, {
        ...shared,
        chunk,
        origin: {
          transformer: await fingerprint(opened.checkpoint),
          tokenizer: await fingerprint(openedTokenizer.checkpoint),
          precision: command.precision,
        },
      }),
    ]
    : await samplePictures(models, {
      ...shared,
      classNames,
      sheet: command.out ?? join(home, "samples.png"),
    });
  await profile?.finish();
  for (const path of results) printResult(path);
  return 0;
}

/** Tells a checkpoint from another one, or from what it was before. */
async function fingerprint(path: string): Promise<string> {
  try {
    const { size, mtime } = await Deno.stat(path);
    return `${path} ${size} ${mtime?.getTime()}`;
  } catch (cause) {
    throw fileError(`read ${path}`, cause);
  }
}

/**
 * Checks that the adapter has the wanted types.
 *
 * @param gpu The device.
 * @param types Types of weights, and of keys and values.
 * @throws {UserError} If one is f16 and the adapter has no f16.
 */
export function requireTypes(
  gpu: Pick<Gpu, "adapter" | "features">,
  types: Pick<SampleCommand, "precision" | "cacheType">,
): void {
  const option = types.precision === "f16" ? "precision" : "kv-cache";
  if ((types.precision === "f32" && types.cacheType === "f32") || gpu.features.has("shader-f16")) {
    return;
  }
  throw new UserError(
    `Cannot sample with --${option} f16: expected an adapter that computes with f16 (feature shader-f16), found ${gpu.adapter.name} without; use --precision f32`,
  );
}
