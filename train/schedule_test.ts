/** Tests of the schedules: values of the reference, and how the options combine. @module */
import { assertAlmostEquals, assertEquals } from "@std/assert";
import {
  tokenizerLearningRate,
  type TokenizerScheduleOptions,
  transformerSchedule,
} from "./schedule.ts";
import {
  cosineWeightDecay,
  droppedLearningRate,
  linearWarmup,
  linearWarmupCosineDecay,
  warmupDecayLearningRate,
} from "./schedule_curves.ts";
import { scheduleRow } from "./schedule_table.ts";

const plain: TokenizerScheduleOptions = {
  learningRate: 1e-4,
  resumeLr: null,
  schedulerType: "None",
  warmupEpochs: 0,
  minLearningRate: 0,
  lrDropEpoch: null,
  lrDropIter: null,
  lrDropRate: 0.1,
  scheType: null,
  wp: 0,
  wp0: 0.005,
  wpe: 0.01,
  maxIter: null,
  wpIter: null,
};

/** Rates of a tokenizer at some steps of a run of 10 epochs of 20 steps. */
function ratesAt(
  steps: readonly number[],
  options: Partial<TokenizerScheduleOptions>,
  startStep = 0,
): number[] {
  const run = { stepsPerEpoch: 20, maxSteps: 200, startStep };
  return steps.map((step) => tokenizerLearningRate({ step, ...run }, { ...plain, ...options }));
}

Deno.test("linearWarmup() rises to 1 and needs no warm-up", () => {
  const values = [0, 2, 4, 9].map((step) => linearWarmup(step, { warmupSteps: 4 }));
  assertEquals(values, [0, 0.5, 1, 1]);
  assertEquals(linearWarmup(0, { warmupSteps: 0 }), 1);
});

Deno.test("linearWarmupCosineDecay() falls to its floor and rises again after the end", () => {
  const options = { warmupSteps: 10, maxSteps: 30, minMultiplier: 0.1 };
  const at = (step: number) => linearWarmupCosineDecay(step, options);
  assertEquals([at(5), at(10), at(30)], [0.5, 1, 0.1]);
  assertAlmostEquals(at(20), 0.5, 1e-12);
  assertAlmostEquals(at(40), 0.5, 1e-12);
  assertEquals(linearWarmupCosineDecay(7, { warmupSteps: 5, maxSteps: 5, minMultiplier: 0 }), 0);
});

Deno.test("droppedLearningRate() drops during the named epochs and after", () => {
  const options = { baseLearningRate: 1e-4, drops: [250, 300], dropRate: 0.1 };
  assertEquals(droppedLearningRate(249, options), 1e-4);
  assertEquals(droppedLearningRate(250, options), 1e-4 * 0.1);
  assertEquals(droppedLearningRate(329, options), 1e-4 * 0.1 * 0.1);
});

Deno.test("warmupDecayLearningRate() is flat for 5 % of the rest, then linear", () => {
  const options = {
    peakLearningRate: 2,
    warmupSteps: 10.5, // rounds to 10, as Python's round does
    maxSteps: 111,
    startMultiplier: 0.5,
    endMultiplier: 0.1,
    decay: "lin0",
  } as const;
  const at = (step: number) => warmupDecayLearningRate(step, options);
  assertEquals([at(0), at(5), at(10), at(14)], [1, 1.5, 2, 2]);
  assertAlmostEquals(at(110), 0.2, 1e-12);
  assertAlmostEquals(at(105) - at(106), at(50) - at(51), 1e-12);
});

Deno.test("cosineWeightDecay() goes from the first value to the last", () => {
  const options = { weightDecay: 0.05, endWeightDecay: 0.08, maxSteps: 101 };
  assertEquals(cosineWeightDecay(0, options), 0.05);
  assertAlmostEquals(cosineWeightDecay(50, options), 0.065, 1e-12);
  assertAlmostEquals(cosineWeightDecay(100, options), 0.08, 1e-12);
  assertEquals(cosineWeightDecay(0, { ...options, maxSteps: 1 }), 0.05);
});

Deno.test("tokenizerLearningRate() drops by epoch", () => {
  const rates = ratesAt([0, 39, 40, 199], { lrDropEpoch: [2, 5] });
  assertEquals(rates, [1e-4, 1e-4, 1e-4 * 0.1, 1e-4 * 0.1 * 0.1]);
});

Deno.test("tokenizerLearningRate() takes resumeLr and counts the drops after the resume only", () => {
  const options = { lrDropEpoch: [2, 5], resumeLr: 5e-5 };
  assertEquals(ratesAt([60, 99, 100], options, 60), [5e-5, 5e-5, 5e-5 * 0.1]);
  const warmup = { schedulerType: "linear-warmup", resumeLr: 5e-5, warmupEpochs: 1 } as const;
  assertEquals(ratesAt([10, 11], warmup, 10), [5e-5, 1e-4 * (11 / 20)]);
});

Deno.test("tokenizerLearningRate() follows the warm-up and cosine of scheduler_type", () => {
  const cosine = {
    schedulerType: "linear-warmup_cosine-decay",
    warmupEpochs: 1,
    minLearningRate: 1e-5,
  } as const;
  const [first, half, peak, last] = ratesAt([0, 10, 20, 199], cosine);
  assertEquals([first, half, peak], [0, 5e-5, 1e-4]);
  assertAlmostEquals(last ?? 0, 1e-5, 1e-12);
});

Deno.test("tokenizerLearningRate() follows the pre-training options", () => {
  const drops = ratesAt([0, 48, 49, 99], { lrDropIter: [50, 100] });
  assertEquals(drops, [1e-4, 1e-4, 1e-4 * 0.1, 1e-4 * 0.1 * 0.1]);
  const annealed = { scheType: "cos", maxIter: 101, wpIter: 10, wp0: 0 } as const;
  const [start, peak, end] = ratesAt([0, 10, 100], annealed);
  assertEquals([start, peak], [0, 1e-4]);
  assertAlmostEquals(end ?? 0, 1e-6, 1e-12);
  assertEquals(ratesAt([20], { scheType: "lin0", wp: 1 }), [1e-4]);
  assertEquals(ratesAt([5], { ...annealed, resumeLr: 7e-5 }), [7e-5]);
});

Deno.test("transformerSchedule() reproduces the settings of the published B", () => {
  const options = { learningRate: 3e-4, weightDecay: 0.05, wp: 6, wp0: 0.005, wpe: 0.1, twde: 0 };
  const run = { stepsPerEpoch: 1669, maxSteps: 500700, startStep: 0 };
  const at = (step: number) => transformerSchedule({ step, ...run }, options);
  assertAlmostEquals(at(0).learningRate, 1.5e-6, 1e-15);
  assertEquals(at(10014).learningRate, 3e-4);
  assertAlmostEquals(at(500699).learningRate, 3e-5, 1e-15);
  assertEquals(at(123456).weightDecay, 0.05);
});

Deno.test("scheduleRow() recognizes each kind of table by its configuration", () => {
  const decay = (kind: object) => ({
    ...{ peak_lr: 1, wp_it: 2, max_it: 11, wp0: 0, wpe: 0 },
    ...kind,
  });
  const configs = {
    "sched.linear_warmup": { warmup_steps: 4 },
    "sched.linear_warmup_cosine": { warmup_steps: 4, max_steps: 8, multipler_min: 0.1 },
    "sched.lambda_lr_sequence": { base_lr: 0.5 },
    "sched.drop": { base_lr: 1, lr_drop_epoch: [2], lr_drop_rate: 0.5 },
    "sched.pretrain_cos": decay({ sche_type: "cos" }),
    "ar_sched.tiny": decay({ wd: 0.1, wd_end: 0.2 }),
  };
  const row = (name: string, step: number) => scheduleRow(name, configs)?.(step);
  assertEquals(row("sched.linear_warmup", 1), [0.25]);
  assertEquals(row("sched.linear_warmup_cosine", 8), [0.1]);
  assertEquals(row("sched.lambda_lr_sequence", 2), [0.25]);
  assertEquals(row("sched.drop", 2), [0.5]);
  assertEquals(row("sched.pretrain_cos", 2), [1]);
  assertEquals(row("ar_sched.tiny", 0), [0, 0.1, 0.1]);
  assertEquals(row("sched.unknown", 0), undefined);
});
