import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { ignoreFiles } from "../tests/tiny_run.ts";
import { withFolder } from "../tests/images.ts";
import { CompileAhead } from "./compile_ahead.ts";
import { Startup } from "./startup.ts";

const ADAPTER = { name: "test", vendor: "", software: true, subgroupSize: 0 };

const description = (entryPoint: string, value = 1) => ({
  name: "kernel",
  source: `override N: u32 = 1;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(8) fn first(@builtin(global_invocation_id) id: vec3u) { y[id.x] = N * id.x; }
@compute @workgroup_size(8) fn second() { y[0] = N; }`,
  entryPoint,
  constants: { N: value },
  buffers: ["y"],
});

Deno.test({
  name: "CompileAhead knows the pipelines of earlier processes, by text, entry point and constants",
  ignore: ignoreFiles,
  fn: () =>
    withFolder({}, (folder) => {
      {
        using ahead = new CompileAhead({ folder, helpers: 0 });
        ahead.begin(ADAPTER);
        assertEquals(ahead.hasCache, true);
        assertEquals(ahead.note(description("first")), true);
        assertEquals(ahead.note(description("second")), true);
        assertEquals(ahead.counts, { pipelines: 2, compiled: 2 });
      }
      using ahead = new CompileAhead({ folder, helpers: 0 });
      ahead.begin(ADAPTER);
      const startup = new Startup(ahead);
      assertEquals(ahead.note(description("first")), false);
      assertEquals(ahead.counts, { pipelines: 1, compiled: 0 });
      assertEquals(ahead.note(description("first", 2)), true);
      assertEquals(ahead.note({ ...description("second"), source: "other" }), true);
      assertEquals(ahead.counts, { pipelines: 3, compiled: 2 });
      const first = startup.firstStep(7.25, 9.5);
      assertEquals(first, {
        record: {
          event: "first step",
          seconds: 7.25,
          processorSeconds: 9.5,
          pipelines: 3,
          compiled: 2,
          start: "cold",
        },
        text:
          "first step after 7.3 s (9.5 s of processor time): cold start, 2 of 3 pipelines compiled",
      });
      assertEquals(startup.firstStep(8, 9), undefined, "only the first of the process");
      using other = new CompileAhead({ folder, helpers: 0 });
      other.begin({ ...ADAPTER, name: "another" });
      other.note(description("first"));
      assertEquals(other.counts.compiled, 1, "another adapter has a cache of its own");
      return Promise.resolve();
    }),
});

Deno.test("CompileAhead counts alone where no cache is known, and on adapters that compile early", () => {
  using ahead = new CompileAhead({ folder: null });
  ahead.begin(ADAPTER);
  assertEquals(ahead.note(description("first")), false);
  assertEquals([ahead.hasCache, ahead.counts.pipelines], [false, 1]);
  assertEquals(
    new Startup(ahead).firstStep(2, 3)?.text,
    "first step after 2.0 s (3.0 s of processor time), 1 pipelines",
  );
});

const adapter = ignoreFiles ? null : await navigator.gpu?.requestAdapter();
Deno.test({
  name: "the helper puts pipelines into the driver's cache and ends with its parent",
  // Only Mesa's cache can be looked at.
  ignore: !/llvmpipe/.test(adapter?.info.description || adapter?.info.device || ""),
  fn: () =>
    withFolder({}, async (folder) => {
      await Deno.mkdir(`${folder}/cache`);
      const queue = `${folder}/queue`;
      await Deno.writeTextFile(queue, `${JSON.stringify(description("first"))}\n{"unfinished`);
      const helper = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", fileURLToPath(import.meta.resolve("./compile_helper.ts"))]
          .concat(queue, "0", "1"),
        env: { MESA_SHADER_CACHE_DIR: `${folder}/cache` },
        stdin: "piped",
        stdout: "null",
        stderr: "null",
      }).spawn();
      let running = true;
      const ended = helper.status.finally(() => running = false);
      const isFilled = (path: string): boolean =>
        [...Deno.readDirSync(path)].some(({ name, isDirectory }) =>
          isDirectory ? isFilled(`${path}/${name}`) : name !== "index" && name !== "marker"
        );
      while (running && !isFilled(`${folder}/cache`)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assert(running, "the helper ended without compiling");
      await helper.stdin.close();
      await ended;
    }),
});
