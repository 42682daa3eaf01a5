/** The fixed division of images into training and validation, by a hash of their names. @module */

import type { Split } from "./dataset.ts";
import { fnv1a32, mix32 } from "../../models/hash.ts";

/** One image in this many is held out. */
const VALIDATION_ONE_IN = 10;

/**
 * Tells to which split an image belongs.
 *
 * The name alone decides, so adding or removing images never moves another one between the splits.
 *
 * @param name Unique name of the image.
 * @returns `validation` for about one name in ten.
 */
export function splitOf(name: string): Split {
  return mix32(fnv1a32(name)) % VALIDATION_ONE_IN === 0 ? "validation" : "train";
}

/**
 * Takes the items of one split.
 *
 * So that few images still give two splits: where the hash leaves one split empty, the item with the smallest hash goes
 * there, and a single item is in both.
 *
 * @param items Things with unique names.
 * @param split Which part.
 * @returns The items of that part in their order.
 */
export function takeSplit<T extends { readonly name: string }>(
  items: readonly T[],
  split: Split,
): T[] {
  const parts: Record<Split, T[]> = { train: [], validation: [] };
  for (const item of items) parts[splitOf(item.name)].push(item);
  if (items.length === 1) return [...items];
  for (const [empty, full] of [["train", "validation"], ["validation", "train"]] as const) {
    if (parts[empty].length > 0 || parts[full].length < 2) continue;
    const hashes = parts[full].map((item) => mix32(fnv1a32(item.name)));
    const smallest = hashes.indexOf(Math.min(...hashes));
    parts[empty] = parts[full].splice(smallest, 1);
  }
  return parts[split];
}
