/** What every labeled set of images offers to the loader. @module */

import { hashedUniform } from "../../models/hash.ts";
import type { CropPosition } from "../image/resize.ts";

/** The part of a data set: for training, or held out for validation. */
export type Split = "train" | "validation";

/** Where random choices of one load come from. */
export interface AugmentKey {
  /** Seed of the run. */
  readonly seed: number;
  /** Epoch, from 0. */
  readonly epoch: number;
}

/** One way to see an image, chosen rather than drawn: which square of it, and whether mirrored. */
export interface View {
  /** Length to which the shorter side is scaled, at least the resolution. */
  readonly shorterSide: number;
  /** Where the square is cut out; the center if absent. */
  readonly position?: CropPosition;
  /** Whether the image is mirrored left to right. */
  readonly flip: boolean;
}

/** Options of {@linkcode Dataset.load}. */
export interface LoadImagesOptions {
  /**
   * Key of the random crops and flips that the data set was opened with; without a key images are cropped at the center
   * and never flipped.
   */
  readonly augment?: AugmentKey;
  /** How all images are seen instead; it goes before `augment`. */
  readonly view?: View;
}

/** Images as the tokenizer takes them. */
export interface LoadedImages {
  /** Pixels in [-1, 1], shape (batch, resolution, resolution, 3). */
  readonly images: Float32Array<ArrayBuffer>;
  /** Index of each image, shape (batch): the wanted one, or the next readable one where a file is broken. */
  readonly indices: Uint32Array;
}

/** One split of a labeled set of square images. Disposing it ends its workers. */
export interface Dataset extends Disposable {
  /** Name of each class; an image's label is an index into it. Equal for both splits. */
  readonly classNames: readonly string[];
  /** Number of images in this split. */
  readonly length: number;
  /** Width and height of the images in pixels. */
  readonly resolution: number;
  /**
   * Tells this data set from every other one: a hash of what is known of its images without reading them (names, order,
   * classes) and of how their pixels are made, but for crops and flips.
   */
  readonly identity: string;
  /**
   * Class of an image.
   *
   * @param index Image, from 0.
   * @returns Index into `classNames`.
   * @throws {RangeError} If there is no such image.
   */
  label(index: number): number;
  /**
   * Name of an image, unique in the data set.
   *
   * @param index Image, from 0.
   * @returns The name.
   * @throws {RangeError} If there is no such image.
   */
  name(index: number): string;
  /**
   * Reads images. The result depends on the arguments and the files alone, never on what was loaded before.
   *
   * @param indices Images, from 0; may repeat.
   * @param options Key of the random crops and flips.
   * @returns Pixels, and which image each one is.
   * @throws {RangeError} If there is no such image.
   * @throws {UserError} If not one file of the data set can be read.
   */
  load(indices: ArrayLike<number>, options?: LoadImagesOptions): Promise<LoadedImages>;
  /** Tells about the files skipped so far, once; the loader calls it at the end of an epoch. */
  reportSkipped(): void;
}

/** Random choices for one image: a crop position in [0, 1)², and whether to mirror it. */
export interface Augmentation {
  /** Horizontal position of the crop. */
  readonly x: number;
  /** Vertical position of the crop. */
  readonly y: number;
  /** Whether the image is mirrored left to right. */
  readonly flip: boolean;
}

/**
 * Draws the random choices for one image of one epoch.
 *
 * @param index Image.
 * @param key Seed and epoch.
 * @returns The same choices for the same arguments.
 */
export function drawAugmentation(index: number, key: AugmentKey): Augmentation {
  const draw = (choice: number) => hashedUniform(key.seed, key.epoch, index, choice);
  return { x: draw(0), y: draw(1), flip: draw(2) < 0.5 };
}

/**
 * Checks an index of a data set.
 *
 * @param index Image.
 * @param dataset What is indexed.
 * @throws {RangeError} If the index is not a whole number in 0 … length − 1.
 */
export function checkIndex(index: number, dataset: { readonly length: number }): void {
  if (!Number.isInteger(index) || index < 0 || index >= dataset.length) {
    throw new RangeError(
      `Cannot take image ${index}: expected a whole number from 0 to ${dataset.length - 1}`,
    );
  }
}

/**
 * Checks the resolution of a data set.
 *
 * @param resolution Width and height in pixels.
 * @throws {RangeError} If it is not a whole number of at least 1.
 */
export function checkResolution(resolution: number): void {
  if (!Number.isInteger(resolution) || resolution < 1) {
    throw new RangeError(
      `Cannot open a data set: expected a resolution of at least 1 pixel, found ${resolution}`,
    );
  }
}
