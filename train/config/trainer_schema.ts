/** The schema of the trainer: length of a run, intervals, precision, and Lightning's callbacks. @module */
import {
  boolean,
  choice,
  configError,
  describe,
  type Field,
  integer,
  list,
  nullable,
  number,
  refine,
  text,
} from "./field.ts";
import { instance, object } from "./object_field.ts";
import type { ModelCheckpointConfig, Precision, TrainerConfig } from "./types.ts";

const everySteps = (doc: string) => integer({ doc, min: 1 });

/** Trainer options of Lightning that describe machines and objects which do not exist here. */
const IGNORED_TRAINER_KEYS = [
  ..."accelerator strategy devices num_nodes logger fast_dev_run min_epochs"
    .split(" "),
  ..."min_steps max_time limit_train_batches limit_test_batches limit_predict_batches".split(" "),
  ..."overfit_batches num_sanity_val_steps enable_checkpointing enable_progress_bar".split(" "),
  ..."enable_model_summary gradient_clip_algorithm deterministic benchmark inference_mode".split(
    " ",
  ),
  ..."use_distributed_sampler profiler barebones plugins sync_batchnorm".split(" "),
  ..."reload_dataloaders_every_n_epochs default_root_dir".split(" "),
];

/** Precisions by our names and Lightning's. */
const PRECISIONS: ReadonlyMap<unknown, Precision> = new Map<unknown, Precision>([
  ...[null, "f32", 32, "32", "32-true"].map((name) => [name, "f32"] as const),
  ...["f16", 16, "16", "16-mixed"].map((name) => [name, "f16"] as const),
]);
/** Lightning's names of a type that WebGPU lacks. */
const BFLOAT16: readonly unknown[] = ["bf16", "bf16-mixed"];

const precision: Field<Precision> = {
  expected: "f32 or f16 (or Lightning's 32-true or 16-mixed)",
  doc:
    "Type in which activations and copies of weights are stored; weights, sums and losses are f32",
  initial: { value: "f32" },
  read(value, place) {
    const found = PRECISIONS.get(value);
    if (found) return found;
    if (BFLOAT16.includes(value)) {
      // f32 holds every bfloat16, f16 does not.
      place.notes.add(
        `No bfloat16, which ${place.file} asks for as ${place.path}: WebGPU lacks it; f32 is taken (f16 needs half the bytes)`,
      );
      return "f32";
    }
    throw configError(place, `expected ${this.expected}, found ${describe(value)}`);
  },
  write: (value) => value,
  entries: () => [],
};

/** The metrics that rank checkpoints: of the training, or of the validation. */
const MONITOR = /^(train|val)\/./;

const monitor = refine(
  text({ doc: "The metric that ranks checkpoints" }),
  (value) =>
    MONITOR.test(value)
      ? undefined
      : `expected a metric as train/loss or val/psnr, found ${describe(value)}`,
);

const modelCheckpoint = refine(
  object<ModelCheckpointConfig>({
    monitor: nullable(monitor),
    mode: choice(["min", "max"], {
      doc: "Whether the smallest or the largest values are the best",
      initial: "min",
    }),
    saveTopK: integer({
      doc: "How many of the best checkpoints are kept; -1 keeps all",
      min: -1,
      initial: 1,
    }),
    everyNTrainSteps: nullable(everySteps("Steps between two checkpoints; null for epochs")),
    everyNEpochs: { ...everySteps("Epochs between two checkpoints"), initial: { value: 1 } },
  }, {
    doc: "Which checkpoints are written and kept; the newest is kept in any case, to resume from",
    ignored: {
      // Checkpoints lie in the folder of the run, where every command finds them.
      dirpath: null,
      filename: null,
      save_last: true,
      save_weights_only: false,
      save_on_train_epoch_end: null,
      train_time_interval: null,
      auto_insert_metric_name: true,
      enable_version_counter: true,
      verbose: false,
    },
  }),
  ({ monitor, saveTopK }) =>
    monitor !== null || saveTopK <= 1
      ? undefined
      : `expected a monitor, by which the best are found, or save_top_k of -1, 0 or 1, found save_top_k ${saveTopK} and no monitor`,
);

/** Lightning has its callbacks under two names of the package. */
const lightningNames = (name: string) => [
  `lightning.pytorch.callbacks.${name}`,
  `pytorch_lightning.callbacks.${name}`,
];

const callback = instance([
  {
    target: "tessera.callbacks.ModelCheckpoint",
    aliases: lightningNames("ModelCheckpoint"),
    params: modelCheckpoint,
  },
  {
    // The log has the learning rate of every step it has a line of.
    target: "tessera.callbacks.LearningRateMonitor",
    aliases: lightningNames("LearningRateMonitor"),
    params: object<Readonly<Record<never, never>>>({}, {
      doc: "The learning rate in the log, where it always is",
      ignored: { logging_interval: "step", log_momentum: false, log_weight_decay: false },
    }),
  },
], { doc: "A callback", keys: ["class_path", "init_args"] });

const callbacks = refine(
  nullable(list(callback, { doc: "What is done beside training", initial: [] })),
  (value) => {
    const targets = value?.map(({ target }) => target) ?? [];
    const repeated = targets.find((target, i) => targets.indexOf(target) !== i);
    return repeated && `expected each callback once, found two of ${repeated}`;
  },
);

/** The trainer's options. */
export const trainer: Field<TrainerConfig> = object<TrainerConfig>({
  maxEpochs: nullable(integer({ doc: "Epochs of the run; null or -1 for no such limit", min: -1 })),
  maxSteps: integer({
    doc: "Optimizer steps of the run; -1 for no such limit",
    min: -1,
    initial: -1,
  }),
  logEveryNSteps: { ...everySteps("Steps between two lines of the log"), initial: { value: 1 } },
  valEveryNSteps: nullable(
    everySteps("Steps between two validations; null for the two options below"),
  ),
  valCheckInterval: number({
    doc: "A whole number of steps between validations, or a share of an epoch",
    min: 1e-6,
    initial: 1,
  }),
  checkValEveryNEpoch: nullable(integer({ doc: "Epochs between validations", min: 1, initial: 1 })),
  limitValBatches: nullable(integer({ doc: "Batches of a validation; null for all", min: 0 })),
  saveEveryNSteps: nullable(
    everySteps("Steps between two checkpoints; null for the end of each epoch"),
  ),
  imageEveryNSteps: { ...everySteps("Steps between two pictures"), initial: { value: 500 } },
  gradientClipVal: nullable(
    number({ doc: "Global norm of the gradients; null does not clip", min: 0 }),
  ),
  accumulateGradBatches: integer({
    doc: "Batches averaged for one optimizer step",
    min: 1,
    initial: 1,
  }),
  precision,
  detectAnomaly: boolean({
    doc: "Whether every result of every step is looked at for NaN and infinity",
    initial: false,
  }),
  callbacks,
}, {
  doc: "How long to train and how often to do what",
  ignored: Object.fromEntries(IGNORED_TRAINER_KEYS.map((key) => [key, undefined])),
});
