/** What the quantizer computes. @module */

/** Products of tokens, codes and dimensions: logits twice; backward logits twice, straight-through twice, two gradients. */
export const QUANTIZER_PRODUCTS = { forward: 2, backward: 6 } as const;
