/**
 * Compiles pipelines into the driver's shader cache for {@linkcode CompileAhead}, which starts it with a file of descriptions, one a
 * line, and the share of them that is its own. It ends with the process that started it.
 *
 * @module
 */

import { Gpu } from "../kernels/gpu.ts";
import { kernelOfText } from "../kernels/kernel.ts";
import type { PipelineDescription } from "../kernels/pipeline_cache.ts";
import type { Slice } from "../kernels/slice.ts";

/** Bytes of each buffer that is bound: more than any uniform array. */
const BOUND_BYTES = 1 << 16;
/** Time between two looks at the file, in milliseconds. */
const LOOK_MS = 20;

const [path = "", index = "0", count = "1"] = Deno.args;

/** Descriptions that were appended to the file since the last look. */
function* newLines(file: Deno.FsFile): Generator<PipelineDescription> {
  const bytes = new Uint8Array(1 << 16);
  for (let read = file.readSync(bytes); read !== null && read > 0; read = file.readSync(bytes)) {
    text += decoder.decode(bytes.subarray(0, read), { stream: true });
  }
  const lines = text.split("\n");
  text = lines.pop() ?? "";
  for (const line of lines) if (number++ % Number(count) === Number(index)) yield JSON.parse(line);
}
const decoder = new TextDecoder();
let text = "";
let number = 0;

/** Compiles the newest first: the process that started this one begins with the oldest. */
async function compileAll(): Promise<void> {
  using gpu = await Gpu.open();
  using file = await Deno.open(path);
  const stack: PipelineDescription[] = [];
  for (;;) {
    stack.push(...newLines(file));
    const next = stack.pop();
    if (!next) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      continue;
    }
    const { name, source, entryPoint, constants, buffers: names } = next;
    const kernel = kernelOfText(name, source);
    const acquired: Slice[] = [];
    const buffers = Object.fromEntries(names.map((buffer) => {
      const { width, texels } = kernel.bindings.get(buffer)!;
      const slice = { ...gpu.acquire(BOUND_BYTES), half: width === "half" };
      acquired.push(slice);
      if (!texels) return [buffer, slice];
      const copy = gpu.copyToTexels(slice);
      acquired.push(copy);
      return [buffer, copy];
    }));
    gpu.compile(kernel, entryPoint, { buffers, constants });
    // Blocks until the pipeline before this one is compiled: the next text is read meanwhile, and no time goes into waits.
    gpu.flush();
    for (const slice of acquired) gpu.release(slice);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/** Standard input ends with the process that holds its other end. */
async function parentEnds(): Promise<void> {
  for await (const _ of Deno.stdin.readable);
}

if (import.meta.main) {
  await Promise.race([compileAll().catch(() => {}), parentEnds()]);
  Deno.exit(0);
}
