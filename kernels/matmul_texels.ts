/** Operands of products in textures, which software adapters load faster than storage buffers. @module */

import type { Gpu } from "./gpu.ts";
import type { ProductForm } from "./matmul_form.ts";
import { type Tile, tileColumns, tileRows } from "./matmul_tile.ts";
import type { Slice } from "./slice.ts";
import { fitsTexelCopy } from "./texel_pool.ts";

/** Operations that take about as long as a kernel's loads of a byte. */
const OPERATIONS_EACH_BYTE = 16;

/** What {@linkcode inTexels} returns. */
export interface CopiedOperands {
  /** Left operand. */
  a: Slice;
  /** Right operand. */
  b: Slice;
  /** Layout that tells which of them are in textures. */
  form: ProductForm;
  /** Made here, to be released behind the product. */
  copies: Slice[];
}

/**
 * Copies operands of a product into textures where the adapter wants that, and where each element is loaded at least once on average.
 *
 * @param gpu The device.
 * @param operands What would be bound.
 * @param product Tile and layout, which tells what is in a texture already, and how many operations it takes.
 * @returns What to bind.
 */
export function inTexels(
  gpu: Gpu,
  operands: { a: Slice; b: Slice },
  product: { tile: Tile; form: ProductForm; operations: number },
): CopiedOperands {
  const { tile, form, operations } = product;
  const copied: CopiedOperands = { ...operands, form: { ...form }, copies: [] };
  if (operations < OPERATIONS_EACH_BYTE * gpu.leastTexelBytes) return copied;
  // A workgroup loads an element of A once for all of its columns, and one of B once for all of its rows.
  const sharing = { a: tileColumns(tile), b: tileRows(tile) };
  for (const name of ["a", "b"] as const) {
    const pays = operands[name].bytes / 4 <= operations / 2 / sharing[name];
    if (
      form[`${name}Texels`] || !form[`${name}Vector`] || !pays || !fitsTexelCopy(operands[name])
    ) continue;
    copied[name] = gpu.copyToTexels(operands[name]);
    copied.form[`${name}Texels`] = true;
    copied.copies.push(copied[name]);
  }
  return copied;
}

/**
 * Copies an operand of several products into a texture, once, where the adapter wants that.
 *
 * @param gpu The device.
 * @param slice The operand.
 * @returns What products take as its `texels`, to be released behind them; undefined where they had better copy it themselves, or not.
 */
export function texelsOf(gpu: Gpu, slice: Slice): Slice | undefined {
  return slice.bytes >= gpu.leastTexelBytes && fitsTexelCopy(slice)
    ? gpu.copyToTexels(slice)
    : undefined;
}
