/** The tokenizer of stage I: images to a grid of discrete codes and back. @module */

import { cast } from "../nn/cast.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { assertGroups } from "../nn/group_norm.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import type { Quantized, QuantizeOptions } from "../nn/quantizer.ts";
import type { Operand, Tensor } from "../nn/tensor.ts";
import type { EncoderDecoderOptions, ForwardOptions } from "./blocks.ts";
import { Decoder } from "./decoder.ts";
import { Encoder } from "./encoder.ts";
import { IndexPropagationQuantizer } from "./quantizer.ts";
import { VectorQuantizer } from "./vector_quantizer.ts";

/** Sizes of a {@linkcode Tokenizer}, and the weights of its quantizer's losses. */
export interface TokenizerOptions extends QuantizeOptions {
  /** Encoder and decoder. */
  readonly ddconfig: EncoderDecoderOptions;
  /** Number of codes. */
  readonly nEmbed: number;
  /** Numbers of a code. */
  readonly embedDim: number;
  /** Standard deviation of the codes' first values; 1 as in the reference. */
  readonly codebookInitScale?: number;
  /**
   * How a code is chosen: `index` (IBQ) by the largest inner product, `nearest` (VQGAN) by the smallest distance. Default `index`.
   */
  readonly quantizer?: "index" | "nearest";
  /** With `nearest`: whether that is meant between vectors brought to length 1. Default false. */
  readonly l2Normalize?: boolean;
}

/** What the tokenizer needs of a quantizer, however it chooses codes. */
export interface CodebookQuantizer extends Module {
  /** The codebook, shape (codes, dimensions). */
  readonly codebook: Operand;
  /** Replaces each position by a code; `z` and `zq` have the shape (batch, height, width, dimensions). */
  forward(z: Tensor): Quantized;
  /** Looks codes up; without gradient. */
  entries(indices: Tensor): Tensor;
}

/** What {@linkcode Tokenizer.encode} gives. */
export interface Encoded {
  /** Output of the encoder, shape (batch, h, w, zChannels). */
  h: Tensor;
  /** The same brought to the size of codes, before quantization, shape (batch, h, w, embedDim). */
  z: Tensor;
}

/** What {@linkcode Tokenizer.forward} gives: the encoder's outputs, what the quantizer made of them, and the images again. */
export interface TokenizerOutput extends Encoded, Quantized {
  /** Reconstructions, shape (batch, height, width, outCh), not clamped. */
  reconstruction: Tensor;
}

/**
 * Encoder, quantizer and decoder with the 1×1 convolutions between them; all names are the reference's.
 *
 * @see arXiv:2412.02692; SEED-Voken src/IBQ/models/ibqgan.py, `IBQ`.
 */
export class Tokenizer extends Module {
  /** Width and height in pixels of what one code stands for. */
  readonly patchSize: number;
  /** Images to features. */
  readonly encoder: Encoder;
  /** Codes to images. */
  readonly decoder: Decoder;
  /** The codebook. */
  readonly quantizer: CodebookQuantizer;
  /** Features to the size of codes. */
  readonly quantConv: Conv2d;
  /** Codes to the size of features. */
  readonly postQuantConv: Conv2d;

  /**
   * Makes encoder, decoder, codebook and the convolutions between them.
   *
   * @param context Makes the parameters.
   * @param options Sizes and weights.
   * @throws {RangeError} If the groups do not divide the channels of a level.
   */
  constructor(context: ModuleContext, options: TokenizerOptions) {
    super();
    const { ddconfig, nEmbed: codes, embedDim: dimensions } = options;
    const { zChannels, ch, chMult, numGroups } = ddconfig;
    // Before any buffer is made, since a constructor that throws cannot give them back.
    for (const channels of [ch, ...chMult.map((multiple) => ch * multiple)]) {
      assertGroups(channels, numGroups);
    }
    this.patchSize = 2 ** (chMult.length - 1);
    this.encoder = this.register("encoder", new Encoder(context, ddconfig));
    this.decoder = this.register("decoder", new Decoder(context, ddconfig));
    const sizes = { ...options, codes, dimensions };
    this.quantizer = this.register<CodebookQuantizer>(
      "quantize",
      options.quantizer === "nearest"
        ? new VectorQuantizer(context, sizes)
        : new IndexPropagationQuantizer(context, sizes),
    );
    this.quantConv = this.register(
      "quant_conv",
      new Conv2d(context, { inputs: zChannels, outputs: dimensions, kernel: 1 }),
    );
    this.postQuantConv = this.register(
      "post_quant_conv",
      new Conv2d(context, { inputs: dimensions, outputs: zChannels, kernel: 1 }),
    );
  }

  /**
   * Encodes images up to the quantizer.
   *
   * @param x Images, shape (batch, height, width, channels), in [-1, 1].
   * @param options Whether dropout is active.
   * @returns Features and what goes into the quantizer.
   */
  encode(x: Tensor, options: ForwardOptions = {}): Encoded {
    const h = this.encoder.forward(x, options);
    return { h, z: this.quantConv.forward(h) };
  }

  /**
   * Decodes codes to images.
   *
   * @param zq Codes, shape (batch, h, w, embedDim), f32 or f16: the decoder's activations have their type.
   * @param options Whether dropout is active.
   * @returns Images, shape (batch, height, width, outCh), f32, not clamped.
   */
  decode(zq: Tensor, options: ForwardOptions = {}): Tensor {
    return zq.tape.scope(() => {
      const images = this.decoder.forward(this.postQuantConv.forward(zq), options);
      return cast(images, "f32");
    });
  }

  /**
   * Finds the tokens of images.
   *
   * @param x Images, shape (batch, height, width, channels), in [-1, 1].
   * @returns Numbers of codes, u32, shape (batch, h, w).
   */
  tokenize(x: Tensor): Tensor {
    return x.tape.scope(() => this.quantizer.forward(this.encode(x).z).indices);
  }

  /**
   * Decodes tokens to images.
   *
   * @param indices Numbers of codes, u32, shape (batch, h, w).
   * @returns Images, shape (batch, height, width, outCh), not clamped; without gradient to the codebook.
   */
  decodeIndices(indices: Tensor): Tensor {
    return indices.tape.scope(() => this.decode(this.quantizer.entries(indices)));
  }

  /**
   * Encodes, quantizes and decodes images.
   *
   * @param x Images, shape (batch, height, width, channels), in [-1, 1], f32 or f16: the activations have their type. The quantizer
   * and what it gives are f32, as are reconstructions.
   * @param options Whether dropout is active.
   * @returns Every intermediate result that losses need.
   */
  forward(x: Tensor, options: ForwardOptions = {}): TokenizerOutput {
    const encoded = this.encode(x, options);
    const quantized = this.quantizer.forward(encoded.z);
    return {
      ...encoded,
      ...quantized,
      reconstruction: this.decode(cast(quantized.zq, x.dtype), options),
    };
  }
}
