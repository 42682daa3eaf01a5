/** The default tokenizer's training step in TensorFlow.js: the same sizes, losses, optimizers and averages as the engine's. @module */

import * as tf from "@tensorflow/tfjs-core";
import { SafetensorsReader } from "../../train/files/safetensors.ts";
import { draw, modelFile, STEP } from "../cases.ts";
import { permuteAxes } from "../numbers.ts";
import type { OpenCase } from "../protocol.ts";
import { Networks, type Sizes } from "./tfjs_network.ts";

/** What the step reads of the engine's configuration. */
interface Config {
  ddconfig: Sizes & { resolution: number };
  lossconfig: {
    params: {
      discNumLayers: number;
      genLossWeight: number;
      lecamLossWeight: number;
      quantLossWeight: number;
      entropyLossWeight: number;
      perceptualWeight: number;
    };
  };
  entropyTemperature: number;
  beta: number;
  emaDecay: number;
}

const BATCH = 16;
const EPSILON = 1e-8;
const LECAM_DECAY = 0.999;
/** Added to logits and probabilities in the entropies, as in the reference. */
const ENTROPY_EPSILON = 1e-5;

type Losses = Record<typeof STEP.losses[number], tf.Tensor>;

/** The identity, through which no gradient flows. */
const detach = tf.customGrad((x) => ({
  value: tf.clone(x as tf.Tensor),
  gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
})) as <Value extends tf.Tensor>(x: Value) => Value;

function named(gradients: tf.NamedTensorMap): { name: string; tensor: tf.Tensor }[] {
  return Object.entries(gradients).map(([name, tensor]) => ({ name, tensor }));
}

function hinge(logits: tf.Tensor, sign: number): tf.Tensor {
  return tf.mean(tf.relu(tf.add(tf.mul(logits, sign), 1)));
}

/** Averages of every trainable variable. */
class Averages {
  readonly #pairs: { variable: tf.Variable; average: tf.Variable }[];
  readonly #decay: number;

  constructor(variables: readonly tf.Variable[], decay: number) {
    this.#decay = decay;
    this.#pairs = variables.map((variable) => ({
      variable,
      average: tf.variable(tf.clone(variable), false),
    }));
  }

  update(): void {
    for (const { variable, average } of this.#pairs) {
      average.assign(tf.sub(average, tf.mul(tf.sub(average, variable), 1 - this.#decay)));
    }
  }

  dispose(): void {
    for (const { average } of this.#pairs) average.dispose();
  }
}

class Step {
  readonly #weights: ReadonlyMap<string, tf.Variable>;
  readonly #config: Config;
  readonly #networks: Networks;
  readonly #generator: tf.Variable[] = [];
  readonly #discriminator: tf.Variable[] = [];
  readonly #optimizers = [0, 1].map(() => tf.train.adam(STEP.learningRate, ...STEP.betas, EPSILON));
  readonly #averages: Averages;
  readonly #lecam = {
    real: tf.variable(tf.scalar(0), false),
    fake: tf.variable(tf.scalar(0), false),
  };

  constructor(weights: ReadonlyMap<string, tf.Variable>, config: Config) {
    this.#weights = weights;
    this.#config = config;
    this.#networks = new Networks(weights, config.ddconfig);
    for (const [name, variable] of weights) {
      if (!variable.trainable) continue;
      (name.startsWith("loss.") ? this.#discriminator : this.#generator).push(variable);
    }
    this.#averages = new Averages([...this.#generator, ...this.#discriminator], config.emaDecay);
  }

  /** The discriminator learns within the generator's forward pass, whose images it judges. */
  run(x: tf.Tensor4D): Losses {
    const losses: Partial<Losses> = {};
    const { grads, value } = tf.variableGrads(() => {
      const images = this.#networks.encode(x);
      const { zq, quant, entropy } = this.#quantize(images);
      const reconstruction = this.#networks.decode(zq);
      Object.assign(losses, this.#judge(x, reconstruction));
      return this.#generate({ x, reconstruction, quant, entropy }, losses);
    }, this.#generator);
    this.#optimizers[0]!.applyGradients(named(grads));
    tf.dispose(grads);
    this.#averages.update();
    return { ...losses, "total_loss": value } as Losses;
  }

  dispose(): void {
    for (const optimizer of this.#optimizers) optimizer.dispose();
    this.#averages.dispose();
    tf.dispose(this.#lecam);
    for (const weight of this.#weights.values()) weight.dispose();
  }

  #quantize(z: tf.Tensor4D): { zq: tf.Tensor4D; quant: tf.Tensor; entropy: tf.Tensor } {
    const codebook = this.#weights.get("quantize.embedding.weight") as tf.Variable<tf.Rank.R2>;
    const [codes, dimensions] = codebook.shape;
    const tokens = tf.reshape(z, [z.size / dimensions, dimensions]) as tf.Tensor2D;
    const logits = tf.matMul(tokens, codebook, false, true);
    const soft = tf.softmax(logits);
    const hard = tf.cast(tf.oneHot(tf.argMax(logits, -1) as tf.Tensor1D, codes), "float32");
    const oneHot = tf.add(tf.sub(hard, detach(soft)), soft) as tf.Tensor2D;
    const zq = tf.matMul(oneHot, codebook);
    const chosen = tf.matMul(hard as tf.Tensor2D, codebook);
    const square = (a: tf.Tensor, b: tf.Tensor): tf.Tensor => tf.mean(tf.squaredDifference(a, b));
    const quant = tf.addN([
      square(zq, tokens),
      square(detach(chosen), tokens),
      tf.mul(square(chosen, detach(tokens)), this.#config.beta),
    ]);
    return { zq: tf.reshape(zq, z.shape), quant, entropy: this.#entropy(logits) };
  }

  #entropy(logits: tf.Tensor): tf.Tensor {
    const sharp = tf.div(logits, this.#config.entropyTemperature);
    const probabilities = tf.softmax(sharp);
    const average = tf.mean(probabilities, 0);
    const ofAverage = tf.neg(tf.sum(tf.mul(average, tf.log(tf.add(average, ENTROPY_EPSILON)))));
    const logarithms = tf.logSoftmax(tf.add(sharp, ENTROPY_EPSILON));
    const ofTokens = tf.neg(tf.mean(tf.sum(tf.mul(probabilities, logarithms), -1)));
    return tf.sub(ofTokens, ofAverage);
  }

  /** Trains the discriminator. */
  #judge(x: tf.Tensor4D, reconstruction: tf.Tensor4D): Partial<Losses> {
    const { discNumLayers, lecamLossWeight } = this.#config.lossconfig.params;
    const losses: Partial<Losses> = {};
    const fakeImages = detach(reconstruction);
    const { grads, value } = tf.variableGrads(() => {
      const real = this.#networks.judge(x, discNumLayers);
      const fake = this.#networks.judge(fakeImages, discNumLayers);
      const move = (average: tf.Variable, logits: tf.Tensor): void =>
        average.assign(tf.add(
          tf.mul(average, LECAM_DECAY),
          tf.mul(tf.mean(logits), 1 - LECAM_DECAY),
        ));
      move(this.#lecam.real, real);
      move(this.#lecam.fake, fake);
      const lecam = tf.add(
        tf.mean(tf.square(tf.relu(tf.sub(real, this.#lecam.fake)))),
        tf.mean(tf.square(tf.relu(tf.sub(this.#lecam.real, fake)))),
      );
      const adversarial = tf.mul(tf.add(hinge(real, -1), hinge(fake, 1)), 0.5);
      losses["lecam_loss"] = tf.keep(lecam);
      losses["logits_real"] = tf.keep(tf.mean(real));
      losses["logits_fake"] = tf.keep(tf.mean(fake));
      return tf.add(adversarial, tf.mul(lecam, lecamLossWeight)) as tf.Scalar;
    }, this.#discriminator);
    this.#optimizers[1]!.applyGradients(named(grads));
    tf.dispose(grads);
    losses["disc_loss"] = tf.keep(value);
    return losses;
  }

  #generate(
    parts: { x: tf.Tensor4D; reconstruction: tf.Tensor4D; quant: tf.Tensor; entropy: tf.Tensor },
    losses: Partial<Losses>,
  ): tf.Scalar {
    const { x, reconstruction, quant, entropy } = parts;
    const { params } = this.#config.lossconfig;
    const absolute = tf.mean(tf.abs(tf.sub(x, reconstruction)));
    const perceptual = this.#networks.distance(x, reconstruction);
    const nll = tf.add(absolute, tf.mul(perceptual, params.perceptualWeight));
    const logits = this.#networks.judge(reconstruction, params.discNumLayers);
    const adversarial = tf.mul(
      tf.mean(tf.softplus(tf.neg(tf.mean(logits, [1, 2, 3])))),
      params.genLossWeight,
    );
    const codebook = tf.add(
      tf.mul(quant, params.quantLossWeight),
      tf.mul(entropy, params.entropyLossWeight),
    );
    losses["nll_loss"] = tf.keep(nll);
    losses["reconstruct_loss"] = tf.keep(absolute);
    losses["perceptual_loss"] = tf.keep(perceptual);
    losses["codebook_quant_loss"] = tf.keep(quant);
    losses["codebook_entropy_loss"] = tf.keep(entropy);
    losses["g_loss"] = tf.keep(adversarial);
    return tf.addN([nll, adversarial, codebook]) as tf.Scalar;
  }
}

/** (outputs, inputs, height, width) to (height, width, inputs, outputs). */
const CONVOLUTION = [2, 3, 1, 0];
const FROZEN = /^loss\.perceptual_loss\.|running_|num_batches_tracked/;

async function readWeights(
  file: SafetensorsReader,
): Promise<Map<string, tf.Variable>> {
  const weights = new Map<string, tf.Variable>();
  for (const [name, { shape }] of file.entries) {
    const data = await file.float32(name);
    const isImage = shape.length === 4 && name.endsWith("weight");
    const values = isImage ? permuteAxes(data, shape, CONVOLUTION) : data;
    const extents = isImage ? CONVOLUTION.map((axis) => shape[axis]!) : [...shape];
    weights.set(name, tf.variable(tf.tensor(values, extents), !FROZEN.test(name)));
  }
  return weights;
}

/**
 * Makes the step ready with the engine's weights and configuration.
 *
 * @param folder Where they are.
 * @returns The case.
 */
export async function openStep(folder: string): Promise<OpenCase> {
  using file = await SafetensorsReader.open(modelFile(folder, "tokenizer step"));
  const config: Config = JSON.parse(file.metadata.get("config") ?? "{}");
  const step = new Step(await readWeights(file), config);
  const { resolution } = config.ddconfig;
  const shape = [BATCH, resolution, resolution, 3] as [number, number, number, number];
  const x = tf.tensor4d(draw({ shape, seed: STEP.seed }).map((value) => 2 * value), shape);
  const first: number[] = [];
  const run = async (steps: number): Promise<void> => {
    for (let i = 0; i < steps; i++) {
      const losses = tf.tidy(() => step.run(x));
      // As a training loop reads its losses; at the end of a batch the wait is part of the time.
      if (i === steps - 1 || first.length < STEP.compared * STEP.losses.length) {
        const values = await Promise.all(STEP.losses.map((name) => losses[name].data()));
        if (first.length < STEP.compared * STEP.losses.length) {
          first.push(...values.map(([value]) => value!));
        }
      }
      tf.dispose(losses);
    }
  };
  return {
    run,
    result: async () => {
      await run(STEP.compared - first.length / STEP.losses.length);
      return Float32Array.from(first);
    },
    close: () => {
      step.dispose();
      x.dispose();
    },
  };
}
