/**
 * Reads damaged and hostile checkpoints of each kind and counts the outcomes, in a process that may read and nothing else:
 * `deno run --allow-read tools/corrupt_checkpoints.ts [COUNT]`. COUNT is the number of each kind of damage, 200 by default.
 *
 * @module
 */
import {
  type CheckpointKind,
  goodSafetensors,
  hostileFiles,
} from "../tests/hostile_checkpoints.ts";
import { readHostile } from "../tests/hostile_reading.ts";

/** Milliseconds above which a file counts as hanging. */
const SLOW_MS = 5_000;

const count = Number(Deno.args[0] ?? 200);
const golden = (name: string): Promise<Uint8Array<ArrayBuffer>> =>
  Deno.readFile(new URL(`../tests/golden/${name}`, import.meta.url));
const files: readonly [CheckpointKind, string, Uint8Array<ArrayBuffer>][] = [
  ["zip", "gpt_half_protocol4.ckpt", await golden("ckpt/gpt_half_protocol4.ckpt")],
  ["zip", "gpt_shared.ckpt", await golden("ckpt/gpt_shared.ckpt")],
  ["zip", "a training", await golden("training/transformer.ckpt")],
  ["legacy", "gpt_legacy.pt", await golden("ckpt/gpt_legacy.pt")],
  ["safetensors", "a small file", await goodSafetensors()],
];
let failures = 0;
const fail = (what: string): void => {
  failures++;
  console.log(`FAILED ${what}`);
};
for (const [kind, name, good] of files) {
  const expected = await readHostile(good, name);
  let refused = 0;
  let loaded = 0;
  let slowestMs = 0;
  let peakBytes = 0;
  for await (const file of hostileFiles(kind, good, count)) {
    const label = `${name}, ${file.what}`;
    const startMs = performance.now();
    try {
      const found = await readHostile(file.bytes, "x");
      if (typeof found === "string") {
        refused++;
        if (!found.startsWith("Cannot read x: ")) fail(`${label}: ${found}`);
      } else {
        loaded++;
        if (file.refused) fail(`${label}: it was read`);
        // Records of an archive have checksums: what is read must be what was written.
        if (kind === "zip" && typeof expected !== "string") {
          for (const [tensor, bytes] of found) {
            if (bytes.some((byte, i) => byte !== expected.get(tensor)?.[i])) {
              fail(`${label}: ${tensor} differs`);
            }
          }
        }
      }
    } catch (error) {
      fail(`${label}: ${error}`);
    }
    const tookMs = performance.now() - startMs;
    slowestMs = Math.max(slowestMs, tookMs);
    if (tookMs > SLOW_MS) fail(`${label}: ${Math.round(tookMs)} ms`);
    peakBytes = Math.max(peakBytes, Deno.memoryUsage().rss);
  }
  console.log(
    `${name} (${kind}): ${refused + loaded} files, ${refused} refused, ${loaded} read, slowest ${
      slowestMs.toFixed(0)
    } ms, process at most ${(peakBytes / 2 ** 20).toFixed(0)} MiB`,
  );
}
Deno.exit(failures === 0 ? 0 : 1);
