/** `deno task sample`: a labeled contact sheet of sampled images. @module */

import { join } from "node:path";
import { openSplit } from "../data_module.ts";
import { sampleImages, toPictures, writeSheet } from "../drawing.ts";
import { UserError } from "../errors.ts";
import { printResult, type Reporter } from "../log.ts";
import { openGpu } from "../open_gpu.ts";
import { openTokenizer, openTransformer } from "../open_models.ts";
import { RunFolder } from "../run_folder.ts";

/** What the command line says. */
export interface SampleCommand {
  /** Where runs are kept. */
  readonly runs: string;
  /** Folder of `--run`. */
  readonly run: string | undefined;
  /** Classes by name or number, separated by commas; undefined for all. */
  readonly classes: string | undefined;
  /** Images of each class. */
  readonly perClass: number;
  /** Classifier-free guidance; 1 or less is none. */
  readonly guidance: number;
  /** Divides the logits. */
  readonly temperature: number;
  /** Choose among so many tokens; 0 for all. */
  readonly topK: number;
  /** Choose among the likeliest tokens of this total probability. */
  readonly topP: number;
  /** Seed of the first image. */
  readonly seed: number;
  /** Images at once. */
  readonly batchSize: number;
  /** The picture. */
  readonly out: string | undefined;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/**
 * Samples.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If there is no such run or class, or the picture cannot be written.
 */
export async function runSample(command: SampleCommand): Promise<number> {
  const { reporter, perClass, seed } = command;
  const run = await RunFolder.open(command.runs, {
    needs: "transformer",
    ...(command.run !== undefined && { path: command.run }),
  });
  using gpu = await openGpu();
  const { transformer: opened, config } = await openTransformer(gpu, run.stage("transformer"));
  using transformer = opened;
  const { tokenizer: openedTokenizer, config: tokenizerConfig } = await openTokenizer(
    gpu,
    run.stage("tokenizer"),
  );
  using tokenizer = openedTokenizer;
  const classNames = await classNamesOf(config.data.params, {
    resolution: tokenizerConfig.model.params.ddconfig.resolution,
    warn: (message) => reporter.warn(message),
  });
  const labels = selectClasses(command.classes, classNames);
  const classes = labels.flatMap((label) => new Array<number>(perClass).fill(label));
  reporter.info(`sampling ${classes.length} images of ${run.path} on ${gpu.adapter.name}`);
  const images = await sampleImages({ gpu, transformer, tokenizer }, {
    classes,
    seeds: classes.map((_, i) => seed + i),
    guidance: command.guidance,
    temperature: command.temperature,
    topK: command.topK,
    topP: command.topP,
    batchSize: command.batchSize,
    onProgress: (done) => reporter.info(`${done} of ${classes.length} images`),
  });
  const pictures = toPictures(images);
  const path = command.out ?? join(run.path, "samples.png");
  const rows = labels.map((label, i) => ({
    label: classNames[label]!,
    images: pictures.slice(i * perClass, (i + 1) * perClass),
  }));
  await writeSheet(path, rows, {
    title:
      `Samples, guidance ${command.guidance}, temperature ${command.temperature}, seed ${seed}`,
  });
  printResult(path);
  return 0;
}

/**
 * Names the classes of a run's data set.
 *
 * @param data The configuration's data.
 * @param options Resolution, and where warnings go.
 * @returns The names, in the order of the labels.
 */
export async function classNamesOf(
  data: Parameters<typeof openSplit>[0],
  options: { resolution: number; warn: (message: string) => void },
): Promise<readonly string[]> {
  using dataset = await openSplit(data, { ...options, split: "validation" });
  return dataset.classNames;
}

/**
 * Reads a list of classes.
 *
 * @param text Names or numbers separated by commas; undefined for all.
 * @param classNames Names of the classes that exist.
 * @returns Their numbers, in the order of the list.
 * @throws {UserError} If a class does not exist.
 */
export function selectClasses(text: string | undefined, classNames: readonly string[]): number[] {
  if (text === undefined || text === "all") return classNames.map((_, label) => label);
  return text.split(",").map((part) => part.trim()).filter(Boolean).map((part) => {
    const named = classNames.indexOf(part);
    const label = named >= 0 ? named : /^\d+$/.test(part) ? Number(part) : -1;
    if (label < 0 || label >= classNames.length) {
      throw new UserError(
        `Cannot sample class ${part}: expected a number from 0 to ${
          classNames.length - 1
        } or one of ${classNames.join(", ")}`,
      );
    }
    return label;
  });
}
