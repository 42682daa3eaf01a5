/** Tests of the checks at official sizes, on sizes so small that the vectors are made here. @module */

import { assert, assertEquals } from "@std/assert";
import { hashedUniform } from "../../models/hashed_uniform.ts";
import { Transformer } from "../../models/transformer.ts";
import { Tokenizer } from "../../models/tokenizer.ts";
import { fileShape, toFileLayout } from "../../models/weights.ts";
import { ModuleContext } from "../../nn/module.ts";
import { gpuTest } from "../../tests/op_case.ts";
import { SMALL_TOKENIZER, SMALL_TRANSFORMER } from "../../tests/small_models.ts";
import { relativeDistance } from "./official_compare.ts";
import { writeHashedWeights } from "./official_weights.ts";

/** The formula of a parameter as the vectors' description states it, element by element. */
function described(name: string, index: number, shape: readonly number[], gain: number): number {
  const u = hashedUniform(name, 9)(index);
  const fanIn = shape.slice(1).reduce((product, extent) => product * extent, 1);
  if (/norm[^.]*\.weight$/.test(name)) return 0.75 + 0.5 * u;
  if (/norm[^.]*\.bias$/.test(name)) return (u - 0.5) * 0.2;
  if (name === "quantize.embedding.weight") return (u - 0.5) * 0.5;
  if (/^tok_emb|embedding_table/.test(name)) return (u - 0.5) * 2;
  if (name.endsWith("bias")) return (u - 0.5) * 0.1;
  return (u - 0.5) * 2 * Math.sqrt(gain / fanIn);
}

gpuTest("writeHashedWeights() gives every parameter the described numbers", async (gpu) => {
  const context = (): ModuleContext => new ModuleContext(gpu, 0, { initialize: false });
  using tokenizer = new Tokenizer(context(), SMALL_TOKENIZER);
  using transformer = new Transformer(context(), SMALL_TRANSFORMER);
  const models = [[tokenizer, 6], [transformer, 1.5]] as const;
  for (const [model, gain] of models) {
    writeHashedWeights(model, { salt: 9, gain });
    for (const [name, parameter] of model.namedParameters()) {
      const found = toFileLayout(parameter, Float32Array.from(await parameter.read()));
      const shape = fileShape(parameter);
      assertEquals(found, found.map((_, i) => described(name, i, shape, gain)), name);
    }
  }
});

Deno.test("relativeDistance() is that of the L2 norms, and infinite where there is no number", () => {
  assertEquals(relativeDistance([3, 4], [3, 4]), 0);
  assert(Math.abs(relativeDistance([3, 5], [3, 4]) - 0.2) < 1e-12);
  assertEquals(relativeDistance([3], [3, 4]), Infinity);
  assertEquals(relativeDistance([3, NaN], [3, 4]), Infinity);
});
