/** A sample of the generated texts of products: changes whenever the generator does. @module */

import {
  CONV2D_FORWARD,
  CONV2D_INPUT_GRADIENT,
  conv2dWeightGradientAddressing,
} from "./conv2d_addressing.ts";
import type { ProductForm } from "./matmul_form.ts";
import { matmulAddressing } from "./matmul_addressing.ts";
import { productSource } from "./matmul_source.ts";
import type { Tile } from "./matmul_tile.ts";

const TILES: readonly Tile[] = [
  { family: "register", lanesX: 2, lanesY: 4, rows: 4, columns: 4 },
  { family: "register", lanesX: 8, lanesY: 1, rows: 4, columns: 4, broadcast: "a" },
  { family: "workgroup", lanesX: 8, lanesY: 8, rows: 4, columns: 4 },
  { family: "dot", lanesX: 8, lanesY: 2, rows: 1, columns: 4 },
];
/** A product as most are: f32 in vectors, with a bias. */
export const PLAIN_FORM: ProductForm = {
  aAlong: "inner",
  bAlong: "columns",
  aVector: true,
  bVector: true,
  cVector: true,
  bias: true,
  residual: false,
  accumulate: false,
  aTexels: false,
  bTexels: false,
  aHalf: false,
  bHalf: false,
  cHalf: false,
};

const TEXELS: ProductForm = { ...PLAIN_FORM, aTexels: true, bTexels: true };

/**
 * Generates texts of each family and of each kind of product, to key measurements by.
 *
 * @returns The texts, joined.
 */
export function productTexts(): string {
  const gradient: ProductForm = { ...PLAIN_FORM, aAlong: "rows" };
  const inputGradient: ProductForm = { ...PLAIN_FORM, bAlong: "inner" };
  return TILES.flatMap((tile) => [
    productSource(tile, PLAIN_FORM, matmulAddressing(PLAIN_FORM)),
    productSource(tile, TEXELS, matmulAddressing(TEXELS)),
    productSource(tile, PLAIN_FORM, CONV2D_FORWARD),
    productSource(tile, inputGradient, CONV2D_INPUT_GRADIENT),
    productSource(tile, gradient, conv2dWeightGradientAddressing(gradient)),
  ]).join("\n");
}
