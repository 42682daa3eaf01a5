/**
 * Makes a schedule from the configuration stored with a table of its values, for checking the one against the other.
 *
 * @module
 */
import {
  cosineWeightDecay,
  type DecayKind,
  droppedLearningRate,
  linearWarmup,
  linearWarmupCosineDecay,
  warmupDecayLearningRate,
} from "./schedule_curves.ts";

/** Values of a table's row at a position: a multiplier, a learning rate, or rate and weight decays. */
export type ScheduleRow = (position: number) => readonly number[];

/** Configurations by name of the table, as the vectors' file stores them. */
export type ScheduleConfigs = Readonly<Record<string, unknown>>;

/** Reads typed numbers from a stored configuration. */
class TableConfig {
  readonly #name: string;
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(name: string, values: unknown) {
    this.#name = name;
    this.#values = new Map(
      typeof values === "object" && values !== null ? Object.entries(values) : [],
    );
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  number(key: string): number {
    const value = this.#values.get(key);
    if (typeof value === "number") return value;
    throw new TypeError(`Cannot check ${this.#name}: expected a number ${key}, found ${value}`);
  }

  numbers(key: string): number[] {
    const value = this.#values.get(key);
    if (Array.isArray(value)) return value.map(Number);
    throw new TypeError(`Cannot check ${this.#name}: expected numbers ${key}, found ${value}`);
  }

  decay(key: string): DecayKind {
    const value = this.#values.get(key);
    if (value === "lin0" || value === "cos") return value;
    throw new TypeError(`Cannot check ${this.#name}: expected lin0 or cos, found ${value}`);
  }
}

function cosineRow(config: TableConfig, baseLearningRate: number): ScheduleRow {
  const options = {
    warmupSteps: config.number("warmup_steps"),
    maxSteps: config.number("max_steps"),
    minMultiplier: config.number("multipler_min"),
  };
  return (step) => [baseLearningRate * linearWarmupCosineDecay(step, options)];
}

function dropRow(config: TableConfig): ScheduleRow {
  const options = {
    baseLearningRate: config.number("base_lr"),
    drops: config.numbers("lr_drop_epoch"),
    dropRate: config.number("lr_drop_rate"),
  };
  return (epoch) => [droppedLearningRate(epoch, options)];
}

/** Row of a learning rate with warm-up and decay and, where the configuration has one, of the weight decay twice. */
function decayRow(config: TableConfig): ScheduleRow {
  const maxSteps = config.number("max_it");
  const rate = {
    peakLearningRate: config.number("peak_lr"),
    warmupSteps: config.number("wp_it"),
    maxSteps,
    startMultiplier: config.number("wp0"),
    endMultiplier: config.number("wpe"),
    decay: config.has("sche_type") ? config.decay("sche_type") : "lin0" as const,
  };
  if (!config.has("wd")) return (step) => [warmupDecayLearningRate(step, rate)];
  const decay = {
    weightDecay: config.number("wd"),
    endWeightDecay: config.number("wd_end"),
    maxSteps,
  };
  return (step) => {
    const weightDecay = cosineWeightDecay(step, decay);
    return [warmupDecayLearningRate(step, rate), weightDecay, weightDecay];
  };
}

/**
 * Finds the schedule behind a table of values.
 *
 * What kind it is follows from the keys of its configuration, so tables of other lengths, rates and names work too.
 *
 * @param name Name of the table, such as `sched.linear_warmup` or `ar_sched.B`.
 * @param configs Configurations of all tables of the file.
 * @returns Function from a step (or epoch) to the values of its row; undefined if the table has no configuration.
 * @throws {TypeError} If the configuration lacks a value of its kind of schedule.
 */
export function scheduleRow(name: string, configs: ScheduleConfigs): ScheduleRow | undefined {
  if (!Object.hasOwn(configs, name)) return undefined;
  const config = new TableConfig(name, configs[name]);
  if (config.has("peak_lr")) return decayRow(config);
  if (config.has("lr_drop_epoch")) return dropRow(config);
  if (config.has("max_steps")) return cosineRow(config, 1);
  if (config.has("warmup_steps")) {
    const options = { warmupSteps: config.number("warmup_steps") };
    return (step) => [linearWarmup(step, options)];
  }
  // Learning rates that an optimizer really used: the base rate times the cosine table of the same file.
  const cosine = "sched.linear_warmup_cosine";
  return cosineRow(new TableConfig(cosine, configs[cosine]), config.number("base_lr"));
}
