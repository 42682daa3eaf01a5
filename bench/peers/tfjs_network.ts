/** The tokenizer's networks in TensorFlow.js, for the training step of the bench. @module */

import * as tf from "@tensorflow/tfjs-core";

/** Sizes of encoder and decoder, as the engine's configuration names them. */
export interface Sizes {
  /** Channels of the first level. */
  ch: number;
  /** Multiple of `ch` at each level. */
  chMult: readonly number[];
  /** Residual blocks of a level of the encoder. */
  numResBlocks: number;
  /** Groups of the norms. */
  numGroups: number;
}

/** Weights by the reference's names, in TensorFlow.js's layouts. */
export type Weights = ReadonlyMap<string, tf.Variable>;

const GROUP_NORM_EPSILON = 1e-6, BATCH_NORM_EPSILON = 1e-5, BATCH_NORM_MOMENTUM = 0.1;
const SLOPE = 0.2;
/** Convolutions of each of VGG16's blocks. */
const VGG_BLOCKS = [2, 2, 3, 3, 3];

/** Networks over a set of weights. */
export class Networks {
  readonly #weights: Weights;
  readonly #sizes: Sizes;

  /**
   * Takes the weights.
   *
   * @param weights Weights by name.
   * @param sizes Sizes of encoder and decoder.
   */
  constructor(weights: Weights, sizes: Sizes) {
    this.#weights = weights;
    this.#sizes = sizes;
  }

  /**
   * Images to values before the quantizer.
   *
   * @param x Images.
   * @returns One vector a position.
   */
  encode(x: tf.Tensor4D): tf.Tensor4D {
    const { chMult, numResBlocks } = this.#sizes;
    let h = this.#convolve(x, "encoder.conv_in");
    for (const level of chMult.keys()) {
      for (let i = 0; i < numResBlocks; i++) h = this.#block(h, `encoder.down.${level}.block.${i}`);
      if (level < chMult.length - 1) {
        const padded = tf.pad4d(h, [[0, 0], [0, 1], [0, 1], [0, 0]]);
        const name = `encoder.down.${level}.downsample.conv`;
        h = this.#convolve(padded, name, { stride: 2, pad: "valid" });
      }
    }
    h = this.#ending(this.#middle(h, "encoder.mid"), "encoder");
    return this.#convolve(h, "quant_conv");
  }

  /**
   * Codes to images.
   *
   * @param zq One code a position.
   * @returns Images.
   */
  decode(zq: tf.Tensor4D): tf.Tensor4D {
    const { chMult, numResBlocks } = this.#sizes;
    let h = this.#convolve(this.#convolve(zq, "post_quant_conv"), "decoder.conv_in");
    h = this.#middle(h, "decoder.mid");
    for (let level = chMult.length - 1; level >= 0; level--) {
      for (let i = 0; i <= numResBlocks; i++) h = this.#block(h, `decoder.up.${level}.block.${i}`);
      if (level > 0) {
        const doubled = tf.image.resizeNearestNeighbor(h, [2 * h.shape[1], 2 * h.shape[2]]);
        h = this.#convolve(doubled, `decoder.up.${level}.upsample.conv`);
      }
    }
    return this.#ending(h, "decoder");
  }

  /**
   * Judges images patch by patch; the running averages move.
   *
   * @param x Images.
   * @param strided Convolutions of stride 2.
   * @returns Logits.
   */
  judge(x: tf.Tensor4D, strided: number): tf.Tensor4D {
    const name = (index: number): string => `loss.discriminator.main.${index}`;
    const options = (stride: number): ConvolutionOptions => ({ stride, pad: 1 });
    let h = tf.leakyRelu(this.#convolve(x, name(0), options(2)), SLOPE);
    for (let layer = 1; layer <= strided; layer++) {
      const stride = layer === strided ? 1 : 2;
      const y = this.#convolve(h, name(3 * layer - 1), options(stride));
      h = tf.leakyRelu(this.#batchNorm(y, name(3 * layer)), SLOPE);
    }
    return this.#convolve(h, name(3 * strided + 2), options(1));
  }

  /**
   * LPIPS of pairs of images, averaged.
   *
   * @param x Images.
   * @param y Images.
   * @returns A scalar.
   */
  distance(x: tf.Tensor4D, y: tf.Tensor4D): tf.Tensor {
    const a = this.#features(x), b = this.#features(y);
    const layers = a.map((features, i) => {
      const squares = tf.square(tf.sub(unitLength(features), unitLength(b[i]!)));
      const name = `loss.perceptual_loss.lin${i}.model.1`;
      return tf.mean(this.#convolve(squares as tf.Tensor4D, name));
    });
    return tf.addN(layers);
  }

  #weight(name: string): tf.Variable {
    const weight = this.#weights.get(name);
    if (!weight) throw new Error(`no weight ${name}`);
    return weight;
  }

  #convolve(
    x: tf.Tensor4D,
    name: string,
    { stride, pad }: ConvolutionOptions = { stride: 1, pad: "same" },
  ): tf.Tensor4D {
    const y = tf.conv2d(x, this.#weight(`${name}.weight`) as tf.Variable<tf.Rank.R4>, stride, pad);
    const bias = this.#weights.get(`${name}.bias`);
    return bias ? tf.add(y, bias) : y;
  }

  #norm(x: tf.Tensor4D, name: string): tf.Tensor4D {
    const [batch, height, width, channels] = x.shape;
    const groups = this.#sizes.numGroups;
    const grouped = tf.reshape(x, [batch, height * width, groups, channels / groups]);
    const { mean, variance } = tf.moments(grouped, [1, 3], true);
    const normal = tf.mul(
      tf.sub(grouped, mean),
      tf.rsqrt(tf.add(variance, GROUP_NORM_EPSILON)),
    );
    return tf.add(
      tf.mul(tf.reshape(normal, x.shape), this.#weight(`${name}.weight`)),
      this.#weight(`${name}.bias`),
    );
  }

  #swishNorm(x: tf.Tensor4D, name: string): tf.Tensor4D {
    const y = this.#norm(x, name);
    return tf.mul(y, tf.sigmoid(y));
  }

  #block(x: tf.Tensor4D, name: string): tf.Tensor4D {
    let h = this.#convolve(this.#swishNorm(x, `${name}.norm1`), `${name}.conv1`);
    h = this.#convolve(this.#swishNorm(h, `${name}.norm2`), `${name}.conv2`);
    const shortcut = `${name}.nin_shortcut`;
    return tf.add(this.#weights.has(`${shortcut}.weight`) ? this.#convolve(x, shortcut) : x, h);
  }

  #middle(x: tf.Tensor4D, name: string): tf.Tensor4D {
    const h = this.#attention(this.#block(x, `${name}.block_1`), `${name}.attn_1`);
    return this.#block(h, `${name}.block_2`);
  }

  #attention(x: tf.Tensor4D, name: string): tf.Tensor4D {
    const [batch, height, width, channels] = x.shape;
    const h = this.#norm(x, `${name}.norm`);
    const tokens = (part: string): tf.Tensor3D =>
      tf.reshape(this.#convolve(h, `${name}.${part}`), [batch, height * width, channels]);
    const scores = tf.matMul(tokens("q"), tokens("k"), false, true);
    const mixed = tf.matMul(tf.softmax(tf.mul(scores, 1 / Math.sqrt(channels))), tokens("v"));
    return tf.add(x, this.#convolve(tf.reshape(mixed, x.shape), `${name}.proj_out`));
  }

  #ending(x: tf.Tensor4D, name: string): tf.Tensor4D {
    return this.#convolve(this.#swishNorm(x, `${name}.norm_out`), `${name}.conv_out`);
  }

  #batchNorm(x: tf.Tensor4D, name: string): tf.Tensor4D {
    const { mean, variance } = tf.moments(x, [0, 1, 2]);
    const count = x.size / x.shape[3];
    const move = (running: tf.Variable, to: tf.Tensor): void =>
      running.assign(tf.add(
        tf.mul(running, 1 - BATCH_NORM_MOMENTUM),
        tf.mul(to, BATCH_NORM_MOMENTUM),
      ));
    move(this.#weight(`${name}.running_mean`), mean);
    move(this.#weight(`${name}.running_var`), tf.mul(variance, count / (count - 1)));
    const normal = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, BATCH_NORM_EPSILON)));
    return tf.add(tf.mul(normal, this.#weight(`${name}.weight`)), this.#weight(`${name}.bias`));
  }

  #features(x: tf.Tensor4D): tf.Tensor4D[] {
    const scaling = "loss.perceptual_loss.scaling_layer";
    const channels = (name: string): tf.Tensor1D =>
      tf.reshape(this.#weight(`${scaling}.${name}`), [x.shape[3]]);
    let h: tf.Tensor4D = tf.div(tf.sub(x, channels("shift")), channels("scale"));
    let index = 0;
    return VGG_BLOCKS.map((convolutions, block) => {
      if (block > 0) {
        h = tf.maxPool(h, 2, 2, "valid");
        index++;
      }
      for (let i = 0; i < convolutions; i++, index += 2) {
        h = tf.relu(this.#convolve(h, `loss.perceptual_loss.net.slice${block + 1}.${index}`));
      }
      return h;
    });
  }
}

interface ConvolutionOptions {
  stride: number;
  pad: "same" | "valid" | number;
}

/** Inside the root, so that the gradient of a vector of zeros is 0 and not NaN. */
const LENGTH_EPSILON = 1e-20;

function unitLength(x: tf.Tensor4D): tf.Tensor4D {
  return tf.div(x, tf.sqrt(tf.add(tf.sum(tf.square(x), -1, true), LENGTH_EPSILON)));
}
