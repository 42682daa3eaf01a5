/** The ways in which each image is encoded into tokens: as it is, mirrored too, or ten crops. @module */

import type { View } from "./data/dataset.ts";

/** Name of a set of views, as the configuration has it. */
export type ViewsName = (typeof VIEWS_NAMES)[number];

/** Names of the sets of views. */
export const VIEWS_NAMES = ["one", "flips", "ten_crops"] as const;

/** What the configuration takes: a set of views, or a crop and a flip anew at each step. */
export type TokenViews = (typeof TOKEN_VIEWS)[number];

/** Names of what the configuration takes. */
export const TOKEN_VIEWS = [...VIEWS_NAMES, "random"] as const;

/** How much larger than the crop the shorter side is for ten crops, so that all ten differ. */
const TEN_CROPS_ENLARGE = 1.1;

/** Just under 1: the right or lower end of the range of crop positions. */
const END = 1 - 2 ** -32;

/** The four corners, then the center. */
const CORNERS: readonly Pick<View, "position">[] = [
  { position: { x: 0, y: 0 } },
  { position: { x: END, y: 0 } },
  { position: { x: 0, y: END } },
  { position: { x: END, y: END } },
  {},
];

/**
 * Lists the views of a set.
 *
 * - `one`: the square at the center.
 * - `flips`: that, and its mirror image.
 * - `ten_crops`: of the image enlarged by a tenth the four corners and the center, then their mirror images.
 *
 * @param name The set.
 * @param resolution Width and height of the images in pixels.
 * @returns One, two or ten views.
 * @see torchvision `TenCrop`, and LlamaGen (Sun et al. 2024, arXiv:2406.06525), which encodes ImageNet so.
 */
export function viewsOf(name: ViewsName, resolution: number): View[] {
  const plain = { shorterSide: resolution };
  const large = { shorterSide: Math.round(resolution * TEN_CROPS_ENLARGE) };
  switch (name) {
    case "one":
      return [{ ...plain, flip: false }];
    case "flips":
      return [{ ...plain, flip: false }, { ...plain, flip: true }];
    case "ten_crops":
      return [false, true].flatMap((flip) =>
        CORNERS.map((corner) => ({ ...corner, ...large, flip }))
      );
  }
}
