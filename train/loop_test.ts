/** Tests of the training loop with a stage that only counts. @module */

import { assertEquals, assertRejects } from "@std/assert";
import { countingSignal, ignoreFiles } from "../tests/tiny_run.ts";
import { CheckpointKeeper } from "./checkpoint_keeper.ts";
import { RunLog } from "./log.ts";
import {
  AnomalyError,
  type LoopOptions,
  type Metrics,
  NonFiniteError,
  runLoop,
  type TrainingStage,
} from "./loop.ts";
import { Progress } from "./progress.ts";
import { StageFolder } from "./run_folder.ts";

/** Notes what the loop asks for; the loss of a step is its number. */
class CountingStage implements TrainingStage {
  readonly calls: string[] = [];
  #metricsOf: (step: number) => Promise<Metrics>;

  constructor(metricsOf = (step: number): Promise<Metrics> => Promise.resolve({ loss: step })) {
    this.#metricsOf = metricsOf;
  }

  step(step: number): ReturnType<TrainingStage["step"]> {
    this.calls.push(`step ${step}`);
    const metrics = this.#metricsOf(step);
    return Promise.resolve({ images: 4, epoch: Math.floor(step / 5), metrics });
  }

  locateNonFinite(step: number): Promise<string> {
    return Promise.resolve(`op of ${step}`);
  }

  validate(step: number): Promise<Metrics> {
    this.calls.push(`validate ${step}`);
    return Promise.resolve({ loss: -step });
  }

  async save(path: string, step: number): Promise<void> {
    this.calls.push(`save ${step}`);
    await Deno.writeTextFile(path, String(step));
  }

  draw(step: number): Promise<string> {
    this.calls.push(`draw ${step}`);
    return Promise.resolve(`${step}.png`);
  }
}

async function inFolder(
  body: (
    run: (stage: TrainingStage, options: Partial<LoopOptions>) => Promise<number>,
    folder: StageFolder,
  ) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempDir();
  const folder = new StageFolder(path);
  await folder.create();
  try {
    await body(async (stage, options) => {
      const { startStep = 0, totalSteps = 5 } = options;
      using log = await RunLog.open(folder.logFile, { resumeStep: startStep });
      const shape = { label: "test", totalSteps, stepsPerEpoch: 5, startStep };
      const progress = new Progress({ ...shape, terminal: false, writeLine: () => {} });
      return await runLoop(stage, {
        folder,
        log,
        progress,
        keeper: await CheckpointKeeper.open(folder, { best: 0, monitor: null }),
        startStep,
        totalSteps,
        logEvery: 1,
        validateEvery: 0,
        saveEvery: 0,
        drawEvery: 0,
        shown: ["loss"],
        signal: new AbortController().signal,
        ...options,
      });
    }, folder);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

function logOf(folder: StageFolder): Record<string, unknown>[] {
  return Deno.readTextFileSync(folder.logFile).trim().split("\n")
    .map((line): Record<string, unknown> => JSON.parse(line));
}

Deno.test({
  name: "runLoop() validates, draws and saves when due and at the end, keeping two checkpoints",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (run, folder) => {
      const stage = new CountingStage();
      assertEquals(
        await run(stage, { validateEvery: 2, drawEvery: 4, saveEvery: 2, logEvery: 2 }),
        5,
      );
      assertEquals(stage.calls, [
        ...["step 0", "step 1", "validate 2", "save 2", "step 2", "step 3", "validate 4", "draw 4"],
        ...["save 4", "step 4", "validate 5", "draw 5", "save 5"],
      ]);
      assertEquals(await folder.checkpoints(), [
        folder.checkpointFile(4),
        folder.checkpointFile(5),
      ]);
      assertEquals(logOf(folder).map(({ timeMs: _, ...line }) => line), [
        { step: 2, epoch: 0, loss: 1 },
        { step: 2, "validation/loss": -2 },
        { step: 4, epoch: 0, loss: 3 },
        { step: 4, "validation/loss": -4 },
        { step: 4, picture: "4.png" },
        { step: 5, "validation/loss": -5 },
        { step: 5, picture: "5.png" },
      ]);
    }),
});

Deno.test({
  name: "runLoop() saves once at a signal, saves nothing where nothing was done, and continues",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (run) => {
      const stage = new CountingStage();
      assertEquals(await run(stage, { signal: countingSignal((steps) => steps === 0) }), 0);
      assertEquals(stage.calls, []);
      assertEquals(await run(stage, { signal: countingSignal((steps) => steps === 2) }), 2);
      assertEquals(stage.calls, ["step 0", "step 1", "save 2"]);
      assertEquals(await run(stage, { startStep: 2, totalSteps: 3 }), 3);
      assertEquals(stage.calls.slice(3), ["step 2", "save 3"]);
      assertEquals(await run(stage, { startStep: 3, totalSteps: 3 }), 3);
      assertEquals(stage.calls.length, 5);
    }),
});

Deno.test({
  name: "runLoop() names op and step that are not finite, after the next step, and saves nothing",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (run, folder) => {
      const stage = new CountingStage((step) => Promise.resolve({ loss: step === 2 ? NaN : step }));
      const error = await assertRejects(() => run(stage, { saveEvery: 2 }), NonFiniteError);
      assertEquals(
        error.message,
        "Cannot continue training: expected finite numbers, found NaN or infinity in op of 2 of step 3; " +
          `the last good checkpoint is ${folder.checkpointFile(2)}`,
      );
      assertEquals([error.step, error.operation], [2, "op of 2"]);
      assertEquals(stage.calls, ["step 0", "step 1", "save 2", "step 2", "step 3"]);
      assertEquals(logOf(folder).slice(-2), [
        { step: 3, epoch: 0, loss: "NaN" },
        { step: 3, event: "not finite", operation: "op of 2" },
      ]);
      const first = new CountingStage(() => Promise.resolve({ norm: Infinity }));
      await assertRejects(
        () => run(first, { saveEvery: 1, totalSteps: 1, folder: new StageFolder("none") }),
        NonFiniteError,
        "no checkpoint was written yet",
      );
    }),
});

Deno.test({
  name: "runLoop() stops at an anomaly with its op, and tells about first and every step",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (run, folder) => {
      const stage = new CountingStage((step) =>
        step === 3 ? Promise.reject(new AnomalyError("softmax")) : Promise.resolve({ loss: step })
      );
      let idleMs = 0;
      const calls: string[] = [];
      const error = await assertRejects(
        () =>
          run(stage, {
            idleMs: () => idleMs++,
            onFirstStep: () => calls.push("first"),
            onStep: () => Promise.resolve(void calls.push("step")),
          }),
        NonFiniteError,
        "found NaN or infinity in softmax of step 4",
      );
      assertEquals(error.operation, "softmax");
      assertEquals(calls, ["first", "step", "step", "step"]);
      const lines = logOf(folder);
      assertEquals(lines.at(-1), { step: 4, event: "not finite", operation: "softmax" });
      assertEquals(lines.slice(0, -1).map(({ gpuIdleMs }) => gpuIdleMs), [undefined, 1, 1]);
    }),
});

Deno.test({
  name: "runLoop() tells about the first step before it submits the second",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (run) => {
      const stage = new CountingStage((step) => Promise.resolve({ loss: step }));
      let before: readonly string[] = [];
      await run(stage, { totalSteps: 3, onFirstStep: () => before = [...stage.calls] });
      assertEquals(before, ["step 0"]);
    }),
});

Deno.test({
  name: "runLoop() throws the first failure though the next step fails as well",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (run) => {
      const stage = new CountingStage((step) =>
        Promise.reject(new RangeError(`failed in ${step}`))
      );
      await assertRejects(() => run(stage, {}), RangeError, "failed in 0");
      // A rejection that nobody handles would end the process now.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }),
});
