/** Weights of the perceptual network of stage I: from a file, from the cache of published ones, or random. @module */

import { fileShape, type FileTensor, loadParameters } from "../models/weights.ts";
import type { Lpips } from "../models/lpips.ts";
import { VGG16_WIDTHS } from "../models/lpips.ts";
import type { TokenizerLossConfig } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { openTensors } from "./files/open_tensors.ts";
import { readFloat32, type TensorFile } from "./files/tensor_file.ts";
import { problemsOf, someOf } from "./load_report.ts";
import { pathOf, requirePretrained, sizeOf } from "./pretrained/store.ts";
import { PRETRAINED } from "./pretrained/table.ts";

/** Prefix of the network in the reference's checkpoints of stage I. */
const CHECKPOINT_PREFIX = "loss.perceptual_loss.";
/** Prefix of the convolutions in torchvision's file. */
const TORCHVISION_PREFIX = "features.";
/** Layers in front of each block of VGG16, activations and poolings counted. */
const SLICE_ENDS = [4, 9, 16, 23, 30];
/** How the line begins that tells of random weights. */
const RANDOM = "perceptual loss: LPIPS on a random VGG16";

/**
 * Loads the weights of the perceptual network: those that the configuration names; without, the published ones if the network has
 * VGG16's own widths and they are in the cache. Otherwise it keeps its random ones. A resumed run keeps what it began with.
 *
 * @param perceptual The network; undefined where its weight in the loss is 0.
 * @param loss The configuration of the losses.
 * @param options `earlier`: the line of the checkpoint that is resumed.
 * @returns One line for log and checkpoints: where the weights are from, or that they are random.
 * @throws {UserError} If a file does not hold the network's weights, or the run began with weights that are not there now.
 */
export async function preparePerceptual(
  perceptual: Lpips | undefined,
  loss: Pick<TokenizerLossConfig, "vggWeights" | "vggSeed" | "vggWidth">,
  options: { earlier?: string | undefined } = {},
): Promise<string> {
  if (!perceptual) return "perceptual loss: none, perceptual_weight is 0";
  const { vggWeights, vggSeed, vggWidth } = loss;
  const { earlier } = options;
  if (vggWeights !== null) {
    await loadLpips(perceptual, vggWeights);
    return `perceptual loss: LPIPS with the weights of ${vggWeights}`;
  }
  const random = `${RANDOM} (seed ${vggSeed}, ${vggWidth.join("-")} channels)`;
  const published =
    `perceptual loss: LPIPS with the published weights ${PRETRAINED.vgg16.file} and ${PRETRAINED.lpips_vgg.file}`;
  if (vggWidth.some((width, block) => width !== VGG16_WIDTHS[block])) {
    return `${random}, as no weights are configured`;
  }
  const begunAtRandom = earlier?.startsWith(RANDOM) ?? false;
  if (begunAtRandom || (earlier !== published && !await cached())) {
    return begunAtRandom
      ? `${random}, with which the run began`
      : `${random}, as no weights are configured or in the cache; deno task weights fetches them`;
  }
  await loadPublished(perceptual);
  return published;
}

async function cached(): Promise<boolean> {
  for (const file of [PRETRAINED.vgg16, PRETRAINED.lpips_vgg]) {
    if (await sizeOf(pathOf(file)) === undefined) return false;
  }
  return true;
}

/**
 * Loads the published weights of VGG16 and of its heads from the cache.
 *
 * @param perceptual Network and heads.
 * @throws {UserError} If a file is not in the cache, or is not what was published.
 */
async function loadPublished(perceptual: Lpips): Promise<void> {
  await loadLpips(perceptual, await requirePretrained(PRETRAINED.vgg16, "load VGG16"));
}

/**
 * Loads LPIPS from a file: one with its own names, with or without the prefix of a checkpoint of stage I, or torchvision's VGG16, to which
 * the published heads are taken from the cache.
 *
 * @param perceptual Network and heads.
 * @param path A safetensors file or a checkpoint of PyTorch.
 * @throws {UserError} If it does not hold the weights.
 */
export async function loadLpips(perceptual: Lpips, path: string): Promise<void> {
  const wanted = new Map(
    [...perceptual.namedParameters()].map(([name, p]) => [name, fileShape(p)]),
  );
  const tensors = new Map<string, FileTensor>();
  using file = await openTensors(path);
  const names = [...file.entries.keys()];
  const prefix = names.some((name) => name.startsWith(CHECKPOINT_PREFIX)) ? CHECKPOINT_PREFIX : "";
  const torchvision = names.some((name) => name.startsWith(TORCHVISION_PREFIX));
  for (const name of names) {
    const own = torchvision
      ? sliceName(name)
      : name.startsWith(prefix) && name.slice(prefix.length);
    if (own === false || (torchvision && !wanted.has(own))) continue;
    tensors.set(own, await tensorOf(file, name));
  }
  if (torchvision) {
    const heads = await requirePretrained(PRETRAINED.lpips_vgg, `load the heads for ${path}`);
    using headFile = await openTensors(heads);
    for (const name of headFile.entries.keys()) tensors.set(name, await tensorOf(headFile, name));
  }
  const report = loadParameters(perceptual, tensors);
  // Constants of the method: torchvision's file has none, and others could only repeat them.
  report.missing = report.missing.filter((name) => !name.startsWith("scaling_layer."));
  const problems = problemsOf(report);
  if (problems.length > 0) {
    throw new UserError(
      `Cannot load ${path}: expected the tensors of LPIPS with VGG16, found that ${
        someOf(problems)
      }`,
    );
  }
}

async function tensorOf(file: TensorFile, name: string): Promise<FileTensor> {
  return { shape: file.entries.get(name)!.shape, data: await readFloat32(file, name) };
}

/** The name that LPIPS gives a tensor of torchvision's VGG16; false for those of the classifier. */
function sliceName(name: string): string | false {
  if (!name.startsWith(TORCHVISION_PREFIX)) return false;
  const own = name.slice(TORCHVISION_PREFIX.length);
  const slice = SLICE_ENDS.findIndex((end) => Number.parseInt(own) < end);
  return slice >= 0 && `net.slice${slice + 1}.${own}`;
}
