/** Which tile serves which product: measured ones by class of product, shipped defaults elsewhere. @module */

import type { Conv2dGeometry } from "./conv2d_parts.ts";
import type { AdapterDescription } from "./gpu.ts";
import { tileFor } from "./matmul_choice.ts";
import type { ProductShape, Tile } from "./matmul_tile.ts";

/** A product as a launcher asks for its tile. */
export interface ProductRequest {
  /** What it belongs to. */
  readonly kind:
    | "matmul"
    | "conv2d_forward"
    | "conv2d_input_gradient"
    | "conv2d_weight_gradient";
  /** Its size as a product of matrices. */
  readonly shape: ProductShape;
  /** Which operands are f16: A, B, C. */
  readonly half: readonly [a: boolean, b: boolean, c: boolean];
  /** Whether A and B are stored transposed (matrix products). */
  readonly transposed?: readonly [a: boolean, b: boolean];
  /** Sizes of the convolution that it belongs to. */
  readonly geometry?: Conv2dGeometry;
}

/** Extents up to this are classes of their own: thin products want lanes along the other axis. */
const LARGEST_THIN_EXTENT = 16;

function extentClass(extent: number): number {
  return extent <= LARGEST_THIN_EXTENT ? extent : 2 ** Math.ceil(Math.log2(extent));
}

/**
 * Names the class of a product: products of a class share a tile.
 *
 * @param request The product.
 * @returns Kind, layout and types, and extents: thin ones as they are, others rounded up to a power of two.
 */
export function productClass(request: ProductRequest): string {
  const { kind, shape, half, transposed = [false, false], geometry } = request;
  const operands = [0, 1].map((i) => (half[i] ? "h" : "f") + (transposed[i] ? "T" : "")).join("");
  const extents = [shape.rows, shape.columns, shape.inner].map(extentClass).join("x");
  const batch = shape.batch > 1 ? ` by ${extentClass(shape.batch)}` : "";
  const stride = geometry && geometry.stride > 1 ? ` stride ${geometry.stride}` : "";
  return `${kind} ${operands}${half[2] ? "h" : "f"} ${extents}${batch}${stride}`;
}

/** The tiles of a device. */
export class TileTable {
  readonly #measured = new Map<string, Tile>();
  readonly #requests = new Map<string, ProductRequest>();

  /** The first product of each class that a launcher has asked for, by class. */
  get requests(): ReadonlyMap<string, ProductRequest> {
    return this.#requests;
  }

  /** Number of classes whose tile was measured. */
  get measured(): number {
    return this.#measured.size;
  }

  /**
   * Chooses the tile of a product.
   *
   * @param request The product.
   * @param adapter Where it runs.
   * @returns The measured tile of its class, or the shipped default.
   */
  choose(request: ProductRequest, adapter: AdapterDescription): Tile {
    const name = productClass(request);
    if (!this.#requests.has(name)) this.#requests.set(name, request);
    return this.#measured.get(name) ?? tileFor(request.shape, adapter);
  }

  /**
   * Takes over measured tiles.
   *
   * @param tiles Tiles by class.
   */
  load(tiles: Iterable<readonly [string, Tile]>): void {
    for (const [name, tile] of tiles) this.#measured.set(name, tile);
  }
}
