/** Tests of what a command says of its start, and of its profile, in processes of their own. */

import { assert, assertEquals } from "@std/assert";
import { startCommand } from "./command.ts";
import { ignoreFiles, withWorkspace } from "./tiny_run.ts";

const adapter = await navigator.gpu?.requestAdapter() ?? null;

Deno.test({
  name: "a second training starts warm; a profile measures the steps behind the warm-up",
  ignore: ignoreFiles || !(adapter?.features.has("timestamp-query") ?? false),
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withWorkspace(async ({ folder, runs, tokenizerConfig }) => {
      const env = { MESA_SHADER_CACHE_DIR: `${folder}/shaders` };
      await Deno.mkdir(env.MESA_SHADER_CACHE_DIR);
      const train = async (name: string, ...rest: string[]) => {
        const run = `${runs}/${name}`;
        const { code, stderr } = await startCommand(
          ["train", "--config", tokenizerConfig, "--run", run, "trainer.limit_val_batches=0"]
            .concat(rest),
          { env },
        ).outcome;
        assertEquals(code, 0, stderr);
        const lines = (await Deno.readTextFile(`${run}/tokenizer/log.jsonl`)).trim().split("\n")
          .map((line): Record<string, unknown> => JSON.parse(line));
        return { run, stderr, lines };
      };
      const cold = await train("cold", "trainer.max_steps=1");
      const { pipelines, compiled, start } = cold.lines.find(({ event }) =>
        event === "first step"
      )!;
      assertEquals([compiled, start], [pipelines, "cold"]);
      assert(cold.stderr.includes(`cold start, ${pipelines} of ${pipelines} pipelines compiled`));

      const out = `${folder}/trace.json`;
      const options = ["--profile", "--profile-steps", "2", "--profile-out", out];
      const warm = await train("warm", "trainer.max_steps=6", ...options);
      const first = warm.lines.find(({ event }) => event === "first step")!;
      assertEquals([first.compiled, first.start], [0, "warm"]);
      assert(warm.stderr.includes(`warm start, 0 of ${pipelines} pipelines compiled`));
      assert(
        warm.lines.some(({ stepMs, gpuIdleMs }) =>
          typeof stepMs === "number" && typeof gpuIdleMs === "number" && gpuIdleMs <= stepMs
        ),
      );
      const { traceEvents, otherData } = JSON.parse(await Deno.readTextFile(out));
      const kernels = traceEvents.filter(({ cat }: { cat?: string }) => cat === "kernel");
      assertEquals([kernels.length, otherData.steps], [otherData.dispatches, 2]);
      assert(otherData.dispatches > 0 && otherData.dispatches % 2 === 0, "two equal steps");
      assert(/^kernel\.entry_point +calls/m.test(warm.stderr));
      assert(warm.stderr.includes(`profile ${out}`));
    }),
});
