/** Turns one image file into the square of pixels that is trained on. @module */

import { decodeImage } from "../image/codec.ts";
import { crop, type CropPosition, resizeShorterSide } from "../image/resize.ts";

/** One file to prepare; plain data, as it is sent to workers. */
export interface PrepareJob {
  /** Path of the file. */
  readonly path: string;
  /** Width and height of the result in pixels. */
  readonly resolution: number;
  /** Where the square is cut out of the scaled image; the center if absent. */
  readonly position?: CropPosition;
}

/** What became of a job. */
export type PrepareOutcome =
  | {
    /** Samples in 0 … 255, shape (resolution, resolution, 3). */
    readonly pixels: Uint8Array<ArrayBuffer>;
  }
  | {
    /** Why the file cannot be used. */
    readonly reason: string;
  };

/**
 * Decodes an image, scales its shorter side to the resolution and cuts a square, as the reference does.
 *
 * @param bytes A PNG or JPEG file.
 * @param job Resolution and position of the square.
 * @returns Samples in 0 … 255, shape (resolution, resolution, 3).
 * @throws {SyntaxError} If the bytes are no image, or are damaged.
 * @throws {RangeError} If the image is too large to be decoded.
 * @see SEED-Voken src/IBQ/data/base.py, `ImagePaths.preprocess_image`.
 */
export function prepareImage(
  bytes: Uint8Array,
  job: Omit<PrepareJob, "path">,
): Uint8Array<ArrayBuffer> {
  const scaled = resizeShorterSide(decodeImage(bytes), job.resolution);
  return new Uint8Array(crop(scaled, job.resolution, job.position).pixels);
}

/**
 * Reads and prepares one file; whatever is wrong with it becomes the outcome's reason.
 *
 * @param job The file.
 * @returns Pixels or a reason.
 */
export function prepareFile(job: PrepareJob): PrepareOutcome {
  try {
    return { pixels: prepareImage(Deno.readFileSync(job.path), job) };
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error) };
  }
}
