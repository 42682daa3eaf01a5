/** Trainings of the reference as checkpoints of a run: Lightning's counters and PyTorch's numbered moments under a run's names. @module */

import type { CheckpointMetadata } from "./checkpoint.ts";
import { UserError } from "./errors.ts";
import { openTensors } from "./files/open_tensors.ts";
import type { TensorLayout } from "./files/safetensors_format.ts";
import { toNumbers } from "./files/elements.ts";
import type { TensorFile } from "./files/tensor_file.ts";
import { TorchReader } from "./files/torch_reader.ts";
import type { TorchOptimizer, TorchParameterState } from "./files/torch_training.ts";
import { lossScaleMetadata } from "./loss_scaling.ts";
import type { StageOptimizer } from "./stage_optimizers.ts";

/** A checkpoint that a training goes on from. */
export interface TrainingFile extends Disposable {
  /** The tensors, by the names of a run's checkpoint. */
  readonly file: TensorFile;
  /** What the reference's training was at; undefined for a run's own checkpoint. */
  readonly reference?: ReferencePosition;
}

/** Where a training of the reference was when it wrote a checkpoint. */
export interface ReferencePosition {
  /** Epoch, from 0. */
  readonly epoch: number;
  /** Learning rate that its first optimizer had. */
  readonly learningRate: number;
}

/** Moments of Adam by PyTorch's names. */
const MOMENTS = ["exp_avg", "exp_avg_sq"] as const;
/** PyTorch's default, which the reference keeps. */
const EPS = 1e-8;

/**
 * Opens a checkpoint to continue from: a run's own, or one of the reference's training, whose counters and optimizers then have the
 * names that a run gives them.
 *
 * @param path The file.
 * @param stage Format of the stage's checkpoints, and its optimizers in the order in which the reference makes them.
 * @returns The file; dispose of it after use.
 * @throws {UserError} If it cannot be read, or its optimizers are not those of the stage.
 */
export async function openTraining(
  path: string,
  stage: { readonly format: string; readonly optimizers: readonly StageOptimizer[] },
): Promise<TrainingFile> {
  const file = await openTensors(path);
  const close = (): void => file[Symbol.dispose]();
  try {
    if (!(file instanceof TorchReader)) return { file, [Symbol.dispose]: close };
    return { ...await asRun(file, stage), [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

async function asRun(
  file: TorchReader,
  { format, optimizers }: { format: string; optimizers: readonly StageOptimizer[] },
): Promise<{ file: TensorFile; reference: ReferencePosition }> {
  const { training } = file;
  if (!training || training.optimizers.length === 0) {
    throw refused(
      file,
      "optimizer_states of a training",
      "weights alone; ckpt_path of the model starts one with them",
    );
  }
  if (training.optimizers.length !== optimizers.length) {
    throw refused(file, `${optimizers.length} optimizers`, String(training.optimizers.length));
  }
  if (!Number.isSafeInteger(training.globalStep) || training.globalStep < 0) {
    throw refused(file, "a whole number as global_step", String(training.globalStep));
  }
  // Name of a run to name in the file.
  const sources = new Map([...file.entries.keys()].map((name) => [name, name]));
  const counts: Record<string, string> = {};
  let allSteps = 0;
  let batches = 0;
  for (const [i, wanted] of optimizers.entries()) {
    const found = training.optimizers[i]!;
    assertSameOptimizer(file, { name: `optimizer_states[${i}]`, found, wanted });
    const steps: [string, number][] = [];
    for (const [name, state] of namedStates(found, wanted)) {
      for (const moment of MOMENTS) {
        const source = state.tensors.get(moment);
        if (source !== undefined) sources.set(`${wanted.prefix}${name}.${moment}`, source);
      }
      steps.push([name, await stepsOf(file, state)]);
    }
    const most = Math.max(0, ...steps.map(([, count]) => count));
    allSteps += most;
    batches = Math.max(batches, most);
    counts[wanted.countsKey] = JSON.stringify(Object.fromEntries(steps));
  }
  // The reference keeps Lightning from counting the discriminator's steps; a training without that counts each batch twice.
  const step = training.globalStep === allSteps ? batches : training.globalStep;
  const metadata: CheckpointMetadata = {
    format,
    step: String(step),
    ...counts,
    ...(training.lossScale && lossScaleMetadata({ ...training.lossScale, steps: [] })),
  };
  const learningRate = Number(training.optimizers[0]!.groups[0]!.settings.get("lr"));
  return {
    file: renamed(file, sources, metadata),
    reference: { epoch: training.epoch, learningRate },
  };
}

/** Refuses moments that another optimizer, or one with other constants, would go on with. */
function assertSameOptimizer(
  file: TensorFile,
  { name, found, wanted }: { name: string; found: TorchOptimizer; wanted: StageOptimizer },
): void {
  const counted = (groups: readonly { length: number }[]): string =>
    groups.map(({ length }) => length).join(" and ");
  const sizes = counted(found.groups.map(({ parameters }) => parameters));
  if (sizes !== counted(wanted.groups)) {
    throw refused(
      file,
      `groups of ${counted(wanted.groups)} parameters in ${name}`,
      sizes || "none",
    );
  }
  for (const [number, { tensors }] of found.states) {
    const unknown = [...tensors.keys()].filter((key) => key !== "step" && !isMoment(key));
    if (unknown.length > 0 || !MOMENTS.every((moment) => tensors.has(moment))) {
      throw refused(
        file,
        `Adam's exp_avg and exp_avg_sq of parameter ${number} of ${name}`,
        [...tensors.keys()].join(", ") || "no moments",
      );
    }
  }
  const expected = { betas: wanted.betas.join(), eps: String(EPS), amsgrad: "false" };
  for (const { settings } of found.groups) {
    for (const [key, value] of Object.entries(expected)) {
      const text = shown(settings.get(key) ?? (key === "amsgrad" ? false : undefined));
      if (text !== value) throw refused(file, `${key} ${value} in ${name}`, text);
    }
  }
}

function isMoment(key: string): boolean {
  return MOMENTS.some((moment) => moment === key);
}

function shown(value: unknown): string {
  return Array.isArray(value) ? value.join() : String(value);
}

/** The states with the names of their parameters: PyTorch numbers these in the order of the groups. */
function* namedStates(
  { groups, states }: TorchOptimizer,
  wanted: StageOptimizer,
): Generator<[string, TorchParameterState]> {
  for (const [i, { parameters }] of groups.entries()) {
    for (const [j, number] of parameters.entries()) {
      const state = states.get(number);
      if (state) yield [wanted.groups[i]![j]!, state];
    }
  }
}

async function stepsOf(
  file: TorchReader,
  { tensors, numbers }: TorchParameterState,
): Promise<number> {
  const source = tensors.get("step");
  const steps = source === undefined
    ? numbers.get("step")
    : toNumbers(await file.bytes(source), file.trainingEntries.get(source)!.dtype)[0];
  if (steps !== undefined && Number.isSafeInteger(steps) && steps >= 0) return steps;
  throw refused(file, "a whole number of steps of each parameter", String(steps ?? "none"));
}

/** A file whose tensors have other names. */
function renamed(
  file: TorchReader,
  sources: ReadonlyMap<string, string>,
  metadata: CheckpointMetadata,
): TensorFile {
  const entries = new Map<string, TensorLayout>();
  for (const [name, source] of sources) {
    const layout = file.entries.get(source) ?? file.trainingEntries.get(source);
    if (layout) entries.set(name, { ...layout, name });
  }
  return {
    name: file.name,
    entries,
    metadata: new Map(Object.entries(metadata)),
    bytes: (name) => file.bytes(sources.get(name) ?? name),
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

function refused({ name }: TensorFile, expected: string, found: string): UserError {
  return new UserError(`Cannot continue ${name}: expected ${expected}, found ${found}`);
}
