/** What a software adapter makes of the processor that it runs on. @module */

/** Linux describes its processors here. A process that may not do everything may not read it. */
const DESCRIPTION = "/proc/cpuinfo";

/**
 * Tells whether lanes can be put into a vector under a mask (AVX-512VL). Mesa's llvmpipe loads from storage buffers lane by lane, and
 * LLVM puts each number into its place in a vector by one such instruction; without them by way of memory, which takes nine times as long.
 *
 * @param description What Linux says of its processors, undefined where that is not known.
 * @returns Whether all of them can; false where nothing is known.
 */
export function hasMaskedVectors(description: string | undefined = describeProcessors()): boolean {
  const flags = description?.match(/^flags\s*:.*$/gm) ?? [];
  return flags.length > 0 && flags.every((line) => /\bavx512vl\b/.test(line));
}

function describeProcessors(): string | undefined {
  if (Deno.build.os !== "linux") return undefined;
  // Without this question, reading would ask the user.
  const { state } = Deno.permissions.querySync({ name: "read", path: DESCRIPTION });
  if (state !== "granted") return undefined;
  try {
    return Deno.readTextFileSync(DESCRIPTION);
  } catch {
    return undefined;
  }
}
