/** Tests of the official sizes: names, shapes and counts of all parameters, by outlines that hold no numbers. @module */

import { assertEquals } from "@std/assert";
import counts from "../tests/golden/counts.json" with { type: "json" };
import gptKeys from "../tests/golden/keys_gpt_B.json" with { type: "json" };
import tokenizerKeys from "../tests/golden/keys_tokenizer_16384.json" with { type: "json" };
import { NLayerDiscriminator } from "../models/discriminator.ts";
import { Lpips } from "../models/lpips.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { Transformer } from "../models/transformer.ts";
import { countParameters, fileShape } from "../models/weights.ts";
import { type Module, ModuleContext } from "../nn/module.ts";
import { sizeOf } from "../nn/tensor.ts";
import { asTokenizer, asTransformer, completeTransformer, loadConfig } from "./config/mod.ts";
import { DISCRIMINATOR } from "./stage_optimizers.ts";
import { averageName } from "./tokenizer_learner.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted";

/** Shapes by name in a checkpoint. */
type Shapes = Record<string, readonly number[]>;

function shapesOf(module: Module, prefix = ""): Shapes {
  return Object.fromEntries(
    Array.from(module.namedParameters(prefix), ([name, parameter]) => [name, fileShape(parameter)]),
  );
}

/** Elements by the first part of the names, which `cut` shortens; only names that have it. */
function elementsBelow(shapes: Shapes, prefix: string, parts: number): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const [name, shape] of Object.entries(shapes)) {
    if (!name.startsWith(prefix)) continue;
    const key = name.slice(prefix.length).split(".").slice(0, parts).join(".");
    sums[key] = (sums[key] ?? 0) + sizeOf(shape);
  }
  return sums;
}

/** Every tensor of a checkpoint of stage I that the configuration makes. */
async function tokenizerCheckpoint(codes: string) {
  const loaded = asTokenizer(await loadConfig({ file: `configs/ibq_tokenizer_${codes}.yaml` }));
  const { params } = loaded.config.model;
  const tokenizer = new Tokenizer(ModuleContext.outline(), params);
  const { lossconfig } = params;
  if (lossconfig.target !== "tessera.losses.VQLPIPSWithDiscriminator") throw new TypeError("loss");
  const { discInChannels, discNdf, discNumLayers, vggWidth } = lossconfig.params;
  const discriminator = new NLayerDiscriminator(ModuleContext.outline(), {
    inChannels: discInChannels,
    ndf: discNdf,
    numLayers: discNumLayers,
  });
  const perceptual = new Lpips(undefined, { widths: vggWidth });
  const trained = { ...shapesOf(tokenizer), ...shapesOf(discriminator, DISCRIMINATOR) };
  const averages = Object.entries(trained)
    .filter(([name]) => !/running_|num_batches_tracked/.test(name))
    .map(([name, shape]) => [averageName(name), shape]);
  const shapes: Shapes = {
    ...trained,
    ...shapesOf(perceptual, "loss.perceptual_loss."),
    ...Object.fromEntries(averages),
    [averageName("decay")]: [],
    [averageName("num_updates")]: [],
  };
  return { shapes, tokenizer, discriminator, perceptual };
}

Deno.test({
  name: "official tokenizers: names, shapes and counts of a whole checkpoint are the reference's",
  ignore,
  async fn() {
    for (const [codes, expected] of Object.entries(counts.tokenizer)) {
      const { shapes, tokenizer, discriminator, perceptual } = await tokenizerCheckpoint(codes);
      // The list is of 16384 codes; sizes differ in nothing but the codebook.
      const sameSize = Object.entries<readonly number[]>(tokenizerKeys).map(([name, shape]) =>
        [name, shape[0] === 16384 ? [Number(codes), ...shape.slice(1)] : shape] as const
      );
      assertEquals(shapes, Object.fromEntries(sameSize), codes);
      assertEquals(Object.keys(shapes).length, expected.state_dict_keys);
      assertEquals(countParameters(tokenizer), expected.total_tokenizer);
      assertEquals(countParameters(discriminator), expected.discriminator);
      const [tokenizerShapes, perceptualShapes] = [shapesOf(tokenizer), shapesOf(perceptual)];
      assertEquals(elementsBelow(tokenizerShapes, "", 1), expected.modules);
      assertEquals(countParameters(perceptual), 0);
      const { "scaling_layer": scaling = 0, ...frozen } = elementsBelow(perceptualShapes, "", 1);
      assertEquals(scaling, 6);
      assertEquals(Object.values(frozen).reduce((sum, n) => sum + n, 0), expected.lpips_frozen);
      assertEquals(
        countParameters(tokenizer) + countParameters(discriminator),
        expected.trainable,
      );
      for (const part of ["encoder", "decoder"] as const) {
        assertEquals(elementsBelow(tokenizerShapes, `${part}.`, 2), expected[part], part);
      }
    }
  },
});

Deno.test({
  name: "official transformers: names, shapes and counts are the reference's",
  ignore,
  async fn() {
    for (const [size, expected] of Object.entries(counts.gpt)) {
      const file = `configs/ibq_transformer_${size}.yaml`;
      const { gpt } = completeTransformer(asTransformer(await loadConfig({ file })).config, {
        tokenizer: null,
        classNum: 1000,
        file,
      });
      const transformer = new Transformer(ModuleContext.outline(), gpt);
      const shapes = shapesOf(transformer, "transformer.");
      // The list is of B: other sizes have other widths and more blocks, with the same names.
      const { n_embd: width, n_layer: blocks } = expected.config;
      const extents = new Map([1, 2, 3, 6].map((factor) => [factor * 1024, factor * width]));
      extents.set(2816, expected.ffn_hidden);
      const scaled: Shapes = {};
      for (const [name, shape] of Object.entries<readonly number[]>(gptKeys)) {
        const own = shape.map((extent) => extents.get(extent) ?? extent);
        const isBlock = name.startsWith("transformer.blocks.0.");
        if (isBlock) {
          for (let i = 0; i < blocks; i++) scaled[name.replace(".0.", `.${i}.`)] = own;
        } else if (!name.startsWith("transformer.blocks.")) scaled[name] = own;
      }
      assertEquals(shapes, scaled, size);
      if (size === "B") assertEquals(shapes, gptKeys);
      assertEquals(countParameters(transformer), expected.total);
      assertEquals(elementsBelow(shapes, "transformer.", 1), expected.modules);
      const { total, drop_path: dropPath, ...parts } = expected.one_block;
      assertEquals(elementsBelow(shapes, "transformer.blocks.0.", 1), parts);
      assertEquals(dropPath, 0);
      assertEquals(Object.values(parts).reduce((sum, n) => sum + n, 0), total);
    }
  },
});
