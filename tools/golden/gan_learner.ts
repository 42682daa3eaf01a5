/** The learner of stage I at the start of the vectors' training steps. @module */

import { VGG16_WIDTHS } from "../../models/lpips.ts";
import { writeFileTensor } from "../../models/weights.ts";
import type { Parameter } from "../../nn/tensor.ts";
import { DISCRIMINATOR } from "../../train/stage_optimizers.ts";
import { TokenizerLearner } from "../../train/tokenizer_learner.ts";
import type { TokenizerLossOptions } from "../../train/tokenizer_losses.ts";
import { type CheckContext, loadState } from "./file_check.ts";
import { type JsonObject, numberOf, objectOf, textOf } from "./json.ts";
import { tokenizerOptions } from "./tokenizer_model.ts";

/** Line of the report for weights that do not fit. */
const GROUP = "state";

function lossOptions(config: JsonObject): TokenizerLossOptions {
  const parameters = objectOf(config.loss_params, "loss_params");
  const weight = (key: string): number => numberOf(parameters[key], `loss_params.${key}`);
  return {
    discStart: weight("disc_start"),
    discNumLayers: weight("disc_num_layers"),
    discInChannels: weight("disc_in_channels"),
    discNdf: weight("disc_ndf"),
    discWeight: weight("disc_weight"),
    genLossWeight: weight("gen_loss_weight"),
    lecamLossWeight: weight("lecam_loss_weight"),
    quantLossWeight: weight("quant_loss_weight"),
    entropyLossWeight: weight("entropy_loss_weight"),
    codebookWeight: numberOf(config.codebook_weight, "codebook_weight"),
    perceptualWeight: numberOf(config.perceptual_weight, "perceptual_weight"),
    discLoss: config.disc_loss === "vanilla" ? "vanilla" : "hinge",
    discFactor: 1,
    pixellossWeight: 1,
    useActnorm: false,
    discConditional: false,
    vggWidth: VGG16_WIDTHS,
    vggWeights: null,
    vggSeed: numberOf(config.hash_salt, "hash_salt"),
    useEntropyLoss: true,
  };
}

/** File and prefix of a text such as "n2.state.* of discriminator.safetensors". */
function sourceOf(text: string): { file: string; prefix: string } {
  const match = /^(\S*)\* of (\S+)\.safetensors$/.exec(text);
  const [, prefix, file] = match ?? [];
  if (prefix === undefined || file === undefined) {
    throw new SyntaxError(
      `Cannot read an initial state: expected "PREFIX.* of FILE.safetensors", found ${text}`,
    );
  }
  return { prefix, file };
}

/**
 * Makes the learner with the weights and averages that the vectors start from.
 *
 * @param context Device and files.
 * @param overrides Losses that differ from the file's configuration.
 * @returns The learner; dispose it.
 */
export async function makeLearner(
  context: CheckContext,
  overrides: Partial<TokenizerLossOptions> = {},
): Promise<TokenizerLearner> {
  const { gpu, file } = context;
  const { config } = file;
  const decay = /[\d.]+(?=\)$)/.exec(textOf(config.ema_decay, "ema_decay"))?.[0];
  const learner = new TokenizerLearner(gpu, {
    model: tokenizerOptions(config),
    loss: { ...lossOptions(config), ...overrides },
    emaDecay: Number(decay),
    seed: 0,
  });
  const parts = [
    { module: learner.tokenizer, key: "initial_tokenizer_state" },
    { module: learner.discriminator, key: "initial_discriminator_state" },
  ];
  for (const { module, key } of parts) {
    const { prefix, file: name } = sourceOf(textOf(config[key], key));
    using source = await context.open(name);
    await loadState(module, source, { prefix, group: GROUP, report: file });
  }
  // Averages start as copies of the weights, but for those that the file has.
  const weights = trainedParameters(learner);
  for (const [name, average] of learner.averages?.averages() ?? []) {
    const own = `ema_init.${name}`;
    const weight = weights.get(name);
    if (file.has(own)) writeFileTensor(average, await file.input(own));
    else if (weight) gpu.copy(weight.storage, average.storage);
  }
  return learner;
}

/**
 * Lists what the learner trains, by the reference's names.
 *
 * @param learner The learner.
 * @returns Parameters of generator and discriminator.
 */
export function trainedParameters(learner: TokenizerLearner): Map<string, Parameter> {
  return new Map([
    ...learner.tokenizer.namedParameters(),
    ...learner.discriminator.namedParameters(DISCRIMINATOR),
  ]);
}
