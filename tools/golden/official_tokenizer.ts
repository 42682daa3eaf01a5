/** Checks `official_tokenizer_<codes>.safetensors`: encoder, quantizer and decoder on one image at an official size. @module */

import type { Quantized } from "../../nn/quantizer.ts";
import { subslice } from "../../kernels/slice.ts";
import type { Tokenizer } from "../../models/tokenizer.ts";
import { linear } from "../../nn/linear.ts";
import { reshape } from "../../nn/math.ts";
import { Tape } from "../../nn/tape.ts";
import { type Operand, Parameter, type Tensor } from "../../nn/tensor.ts";
import type { CheckContext } from "./file_check.ts";
import { numberOf, objectOf } from "./json.ts";
import { IMAGE, toFile } from "./layout.ts";
import {
  compareFingerprint,
  compareSamples,
  OFFICIAL_TOLERANCE,
  relativeDistance,
} from "./official_compare.ts";
import { writeHashedWeights } from "./official_weights.ts";
import { makeTokenizer } from "./tokenizer_model.ts";
import type { VectorFile } from "./vectors.ts";

/** Variance of the layers' outputs, by the formula of the weights. */
const GAIN = 6;
/** The reference may choose another code where its two largest logits are closer than this share of the largest. */
const TIE_SHARE = 1e-3;
/** Codes whose logits are computed at a time: with 256 tokens 16 MiB. */
const CODES_AT_A_TIME = 2 ** 14;

/** The vectors' pattern: whole numbers that every language computes alike, (size, size, 3) in [-1, 1]. */
function patternImage(size: number): Float32Array {
  const image = new Float32Array(size * size * 3);
  for (let y = 0, i = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      for (let c = 0; c < 3; c++, i++) {
        const wave = (x * (3 + c) + y * 2 + ((x * y) >> 5) * (1 + c)) & 255;
        image[i] = Math.fround(Math.min(wave, 255 - wave) / 127) * 2 - 1;
      }
    }
  }
  return image;
}

/** The two largest logits of each token. */
interface LargestLogits {
  readonly top: Float32Array;
  readonly margin: Float32Array;
}

/** Computes the logits of all codes, a range of them at a time, as together they can be larger than a binding. */
async function largestLogits(z: Tensor, codebook: Operand): Promise<LargestLogits> {
  const { gpu } = z.tape;
  const [codes = 0, dimensions = 0] = codebook.shape;
  const tokens = z.shape[0]!;
  const first = new Float32Array(tokens).fill(-Infinity);
  const second = new Float32Array(tokens).fill(-Infinity);
  for (let start = 0; start < codes; start += CODES_AT_A_TIME) {
    const count = Math.min(CODES_AT_A_TIME, codes - start);
    const bytes = 4 * dimensions;
    const storage = subslice(codebook.storage, start * bytes, count * bytes);
    using weight = new Parameter(gpu, [count, dimensions], { storage });
    using tape = new Tape(gpu, { record: false });
    const logits = await linear(tape.constant(z), { weight }).read();
    for (let i = 0; i < logits.length; i++) {
      const logit = logits[i]!;
      const token = Math.floor(i / count);
      if (logit > first[token]!) [first[token], second[token]] = [logit, first[token]!];
      else if (logit > second[token]!) second[token] = logit;
    }
  }
  return { top: first, margin: first.map((logit, token) => logit - second[token]!) };
}

/** Indices equal the reference's but where two codes are nearly tied; returns how many differ. */
async function compareIndices(file: VectorFile, found: Uint32Array): Promise<number> {
  const expected = await file.indices("indices");
  const margins = await file.input("argmax_margin");
  const tops = await file.input("logits.top");
  let ties = 0;
  for (const [token, index] of expected.entries()) {
    if (found[token] === index) continue;
    ties++;
    // A difference where nothing is tied is as far off as its margin.
    file.check("indices", margins[token]! / Math.abs(tops[token]!), TIE_SHARE);
  }
  file.check("indices", found.length === expected.length ? 0 : Infinity, TIE_SHARE);
  return ties;
}

/** Latents, logits, indices and losses. */
async function checkEncoder({ gpu, file }: CheckContext, tokenizer: Tokenizer): Promise<void> {
  const { resolution } = tokenizerSize(file);
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(patternImage(resolution), [1, resolution, resolution, 3]);
  const { z } = tokenizer.encode(x);
  const latents = toFile(await z.read(), z.shape, IMAGE);
  await compareSamples(file, "z", latents);
  await compareFingerprint(file, "z", latents);

  const rows = reshape(z, [z.size / z.shape[3]!, z.shape[3]!]);
  const { top, margin } = await largestLogits(rows, tokenizer.quantizer.codebook);
  const tops = await file.input("logits.top");
  file.check("logits.top", relativeDistance(top, tops), OFFICIAL_TOLERANCE);
  // The margin is a difference of two logits, whose size decides how exact it is.
  const margins = await file.input("argmax_margin");
  const scale = Math.hypot(...tops);
  const distance = Math.hypot(...margin.map((value, i) => value - margins[i]!));
  file.check("argmax_margin", distance / scale, OFFICIAL_TOLERANCE);

  const quantized: Quantized = tokenizer.quantizer.forward(z);
  const ties = await compareIndices(file, await quantized.indices.readIndices());
  const losses = {
    "quant_loss": quantized.quantLoss,
    "sample_entropy": quantized.sampleEntropy!,
    "avg_entropy": quantized.averageEntropy!,
    "entropy_loss": quantized.entropyLoss!,
  };
  // Each token whose code is another one of a tie may change the mean over tokens by its share.
  const allowance = OFFICIAL_TOLERANCE + ties / tops.length;
  for (const [name, loss] of Object.entries(losses)) {
    const tolerance = name === "quant_loss" ? allowance : OFFICIAL_TOLERANCE;
    file.check(name, relativeDistance(await loss.read(), await file.input(name)), tolerance);
  }
}

/** The image again, from the reference's codes, so that a tie that falls to another code does not count twice. */
async function checkDecoder({ gpu, file }: CheckContext, tokenizer: Tokenizer): Promise<void> {
  const { grid } = tokenizerSize(file);
  using tape = new Tape(gpu, { record: false });
  const image = tokenizer.decodeIndices(
    tape.input(await file.indices("indices"), [1, grid, grid]),
  );
  const pixels = toFile(await image.read(), image.shape, IMAGE);
  await compareSamples(file, "rec", pixels);
  await compareFingerprint(file, "rec", pixels);
}

/** Pixels of a side of the image, and tokens of a side of the grid. */
function tokenizerSize({ config }: VectorFile): { resolution: number; grid: number } {
  const ddconfig = objectOf(config.ddconfig, "ddconfig");
  const resolution = numberOf(ddconfig.resolution, "ddconfig.resolution");
  const levels = objectOf(config.ddconfig, "ddconfig").ch_mult;
  const halvings = Array.isArray(levels) ? levels.length - 1 : 0;
  return { resolution, grid: resolution / 2 ** halvings };
}

/**
 * Compares everything in the file.
 *
 * @param context Device and file.
 */
export async function checkOfficialTokenizer(context: CheckContext): Promise<void> {
  const { gpu, file } = context;
  using tokenizer = makeTokenizer(gpu, file.config, { initialize: false });
  writeHashedWeights(tokenizer, { salt: numberOf(file.config.salt, "salt"), gain: GAIN });
  await checkEncoder(context, tokenizer);
  await checkDecoder(context, tokenizer);
}
