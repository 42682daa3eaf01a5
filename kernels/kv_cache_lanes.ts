/** The generator of decoding attention for software adapters: a lane an image and head, none of which waits for another one. @module */

import common from "./common.wgsl" with { type: "text" };
import { defineKernel, type Kernel } from "./kernel.ts";
import { range } from "./matmul_form.ts";
import shared from "./kv_cache_shared.wgsl" with { type: "text" };
import special from "./special.wgsl" with { type: "text" };

/** Tokens between two looks at the maximum of the scores. */
const TOKENS_EACH = 4;

/**
 * Builds the WGSL text for heads of so many packs: query and result are numbers of their own, as arrays with variable indices would not
 * stay in registers. The newest key and value go into the cache, and are attended to as they are there.
 */
function cacheLanesSource(packs: number): string {
  const each = (text: (p: number) => string, join = "\n"): string =>
    range(packs).map(text).join(join);
  const tokens = range(TOKENS_EACH);
  return `@compute @workgroup_size(THREADS)
fn attend(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.images * params.heads) { return; }
  let image = i / params.heads;
  let head = i % params.heads;
  let group = params.heads / params.kv_heads;
  let kvHead = head / group;
  let row = image * (params.heads + 2u * params.kv_heads);
  let cached = (image * params.kv_heads + kvHead) * params.room * PACKS;
  let newest = cached + params.position * PACKS;
  let keyRow = (row + params.heads + kvHead) * PACKS;
  let valueRow = keyRow + params.kv_heads * PACKS;
  var newKeys = 0.0;
  ${
    each((p) =>
      `let q${p} = params.scale * turned((row + head) * PACKS, ${p}u);
  let k${p} = Stored4(turned(keyRow, ${p}u));
  let v${p} = Stored4(qkv[valueRow + ${p}u]);
  newKeys += dot(q${p}, vec4f(k${p}));
  var total${p} = vec4f(v${p});`
    )
  }
  if (head % group == 0u) {
    ${each((p) => `key[newest + ${p}u] = k${p}; value[newest + ${p}u] = v${p};`)}
  }
  var maximum = newKeys;
  var sum = 1.0;
  for (var first = 0u; first < params.position; first += ${TOKENS_EACH}u) {
    ${
    tokens.map((t) =>
      `let token${t} = min(first + ${t}u, params.position - 1u) * PACKS + cached;
    var score${t} = ${each((p) => `dot(q${p}, vec4f(key[token${t} + ${p}u]))`, " + ")};
    if (first + ${t}u >= params.position) { score${t} = -3.4e38; }`
    ).join("\n    ")
  }
    let highest = max(max(max(score0, score1), max(score2, score3)), maximum);
    ${tokens.map((t) => `let weight${t} = preciseExp(score${t} - highest);`).join("\n    ")}
    // What was summed up so far is relative to the maximum so far.
    let rescale = preciseExp(maximum - highest);
    sum = sum * rescale + ((weight0 + weight1) + (weight2 + weight3));
    maximum = highest;
    ${
    each((p) =>
      `total${p} = total${p} * rescale + (${
        tokens.map((t) => `weight${t} * vec4f(value[token${t} + ${p}u])`).join(" + ")
      });`
    )
  }
  }
  ${each((p) => `mixed[i * PACKS + ${p}u] = total${p} / sum;`)}
}
`;
}

const kernels = new Map<number, Kernel>();

/**
 * Makes the kernel for heads of a length, once.
 *
 * @param packs Vectors of four numbers of a head.
 * @returns The kernel, whose lanes are one for each image and head.
 */
export function cacheLanesKernel(packs: number): Kernel {
  let kernel = kernels.get(packs);
  if (!kernel) {
    kernel = defineKernel(
      `kv_cache_lanes_${packs}`,
      common,
      special,
      shared,
      cacheLanesSource(packs),
    );
    kernels.set(packs, kernel);
  }
  return kernel;
}

/**
 * Tells how many loop iterations a lane takes.
 *
 * @param position Number of the new token.
 * @returns Iterations.
 */
export function cacheLanesIterations(position: number): number {
  return Math.ceil(position / TOKENS_EACH);
}
