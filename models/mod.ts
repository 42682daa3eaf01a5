/**
 * The models of index backpropagation quantization: image tokenizer, its opponent and its perceptual distance, and the
 * class-conditional transformer over tokens. Names of parameters are those of the reference's checkpoints.
 *
 * @see arXiv:2412.02692; SEED-Voken src/IBQ.
 *
 * @module
 */

export * from "./blocks.ts";
export * from "./decoder.ts";
export * from "./discriminator.ts";
export * from "./encoder.ts";
export * from "./lecam.ts";
export * from "./losses.ts";
export * from "./lpips.ts";
export * from "./quantizer.ts";
export * from "./sampler.ts";
export * from "./stages.ts";
export * from "./token_predictor.ts";
export * from "./tokenizer.ts";
export * from "./transformer.ts";
export * from "./transformer_block.ts";
export * from "./transformer_head.ts";
export * from "./transformer_options.ts";
export * from "./vector_quantizer.ts";
export * from "./weights.ts";
