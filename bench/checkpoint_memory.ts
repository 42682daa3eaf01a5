/**
 * Reads a checkpoint and prints the memory that it takes above the idle process: once keeping every tensor, as a model on a software
 * adapter does, and once tensor after tensor. `deno run -A bench/checkpoint_memory.ts FILE [keep|stream]`.
 *
 * @module
 */
import { DTYPE_BYTES } from "../train/files/safetensors.ts";
import { elementCount } from "../train/files/safetensors_format.ts";
import { openTensors } from "../train/files/open_tensors.ts";

const GB = 1e9;

/** The process's peak of resident memory, in bytes. */
async function peakBytes(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return 1024 * Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]);
}

const [path = "", mode = "keep"] = Deno.args;
const startMs = performance.now();
const idleBytes = Deno.memoryUsage().rss;
using file = await openTensors(path);
const sizes = [...file.entries.values()].map(({ dtype, shape }) =>
  DTYPE_BYTES[dtype] * elementCount(shape)
);
const total = sizes.reduce((sum, size) => sum + size, 0);
const kept: Uint8Array[] = [];
for (const name of file.entries.keys()) {
  const bytes = await file.bytes(name);
  if (mode === "keep") kept.push(bytes);
}
const above = await peakBytes() - idleBytes;
const seconds = (performance.now() - startMs) / 1000;
console.log(
  `${mode}: ${sizes.length} tensors of ${(total / GB).toFixed(3)} GB, peak ${
    (above / GB).toFixed(3)
  } GB above idle, ${(100 * above / total).toFixed(1)} % of the tensors, ${
    seconds.toFixed(1)
  } s, ${kept.length} kept`,
);
