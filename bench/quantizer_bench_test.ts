import { assert, assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";

const SMALL = ["--codes", "64", "--dimensions", "8", "--tokens", "16", "--runs", "1"];

async function bench(
  ...args: string[]
): Promise<{ success: boolean; text: string; error: string }> {
  const file = (path: string): string => new URL(path, import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--preload", file("../tools/gpu_env.ts")]
      .concat(file("quantizer_bench.ts"), SMALL, args),
  }).output();
  const decoder = new TextDecoder();
  return { success, text: decoder.decode(stdout), error: decoder.decode(stderr) };
}

gpuTest("the quantizer's bench compares with what the reference reports", async () => {
  // Stands in for Python: prints what the script would.
  const report =
    `{"forward": {"wall": 1, "processor": 2}, "backward": {"wall": 3, "processor": 4}, "loss": 5, "memoryMiB": 6}`;
  const folder = await Deno.makeTempDir();
  try {
    const python = `${folder}/python`;
    await Deno.writeTextFile(python, `#!/bin/sh\necho warning\necho '${report}'\n`, {
      mode: 0o755,
    });
    const { text } = await bench("--json", "--pytorch", python, "--reference", folder);
    const { operations, results } = JSON.parse(text);
    assertEquals(operations, { forward: 1, backward: 3, product: 2 * 64 * 8 * 16 });
    assertEquals(results.both.reference.both, { wall: 4, processor: 6 });
    assert(results.both.ours.backward.wall > 0 && results.forward.ours.memoryMiB > 0);
    assertEquals(results.forward.ours.losses, results.both.ours.losses);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

gpuTest(
  "the quantizer's bench prints a line a pass, and refuses what it does not know",
  async () => {
    const { text } = await bench("--pass", "forward");
    assertEquals(text.trim().split("\n").length, 3, text);
    assert(/again in the process.* % of 1024x1024x1024/.test(text), text);
    const refused = await bench("--pass", "backward");
    assert(!refused.success && refused.error.includes("found backward"), refused.error);
    const profile = await bench("--profile");
    for (const name of ["forward", "backward", "quantizer.differences", "matmul.matmul"]) {
      assert(profile.text.includes(name), `${name} in ${profile.text}${profile.error}`);
    }
    const alone = await bench("--pytorch", "python3");
    assert(!alone.success && alone.error.includes("--reference"), alone.error);
  },
);
