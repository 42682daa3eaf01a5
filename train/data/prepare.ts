/** Turns one image file into the square of pixels that is trained on. @module */

import { fileError } from "../files/file_error.ts";
import { decodeImageExactly, type RgbImage } from "../image/codec.ts";
import { LibJpeg } from "../image/libjpeg.ts";
import { cropResampled, resampleShorterSide } from "../image/resample.ts";
import { crop, type CropPosition, resizeShorterSide } from "../image/resize.ts";

/** How an image is scaled: as OpenCV or as Pillow does, which the reference's data sets use. */
export type Resampling = "opencv" | "pillow";

/** Where an image lies: a file, or a part of one. */
export interface ImagePlace {
  /** Path of the file. */
  readonly path: string;
  /** The bytes of it that hold the image; all if absent. */
  readonly range?: { readonly startByte: number; readonly lengthBytes: number };
  /** Size of the image where the bytes are its samples, red, green and blue, rather than a PNG or JPEG file. */
  readonly raw?: { readonly width: number; readonly height: number };
}

/** How a square is made of an image. */
export interface SquareOptions {
  /** Width and height of the result in pixels. */
  readonly resolution: number;
  /** Length to which the shorter side is scaled; default `resolution`, and at least that. */
  readonly shorterSide?: number;
  /** How it is scaled; default `opencv`. */
  readonly resampling?: Resampling;
  /** Where the square is cut out of the scaled image; the center if absent. */
  readonly position?: CropPosition;
}

/** One image to prepare; plain data, as it is sent to workers. */
export interface PrepareJob extends ImagePlace, SquareOptions {}

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

/** Longest file that is read as an image: no image of a size that is decoded needs more. */
const MAX_FILE_BYTES = 2 ** 28;

/** Decodes in this thread; it holds nothing but its code and scratch memory. */
const LIB_JPEG = new LibJpeg();

/**
 * Scales an image's shorter side and cuts a square, as the reference does.
 *
 * @param image Any size.
 * @param options Size, scaling, place.
 * @returns Samples in 0 … 255, shape (resolution, resolution, 3).
 * @see SEED-Voken src/IBQ/data/base.py, `ImagePaths.preprocess_image`; src/Open_MAGVIT2/data/pretrain.py.
 */
export function cutSquare(image: RgbImage, options: SquareOptions): Uint8Array<ArrayBuffer> {
  const { resolution, shorterSide = resolution, resampling = "opencv", position } = options;
  const square = resampling === "opencv"
    ? crop(resizeShorterSide(image, shorterSide), resolution, position)
    : cropResampled(resampleShorterSide(image, shorterSide), resolution, position);
  return new Uint8Array(square.pixels);
}

/**
 * Reads and prepares one image; whatever is wrong with it becomes the outcome's reason.
 *
 * @param job The image.
 * @returns Pixels or a reason.
 */
export async function prepareFile(job: PrepareJob): Promise<PrepareOutcome> {
  try {
    const bytes = readPlace(job);
    const image = job.raw
      ? { ...job.raw, pixels: bytes }
      : await decodeImageExactly(bytes, LIB_JPEG);
    return { pixels: cutSquare(image, job) };
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error) };
  }
}

function readPlace({ path, range }: ImagePlace): Uint8Array {
  try {
    using file = Deno.openSync(path);
    const { size, isDirectory } = file.statSync();
    if (isDirectory) throw new Deno.errors.IsADirectory();
    const { startByte = 0, lengthBytes = size } = range ?? {};
    if (lengthBytes > MAX_FILE_BYTES) {
      throw new RangeError(
        `Cannot read ${path}: expected at most ${MAX_FILE_BYTES} bytes, found ${lengthBytes}`,
      );
    }
    const bytes = new Uint8Array(lengthBytes);
    if (startByte > 0) file.seekSync(startByte, Deno.SeekMode.Start);
    let filled = 0;
    while (filled < lengthBytes) {
      const count = file.readSync(bytes.subarray(filled));
      if (count === null) break;
      filled += count;
    }
    if (filled < lengthBytes) {
      throw new RangeError(
        `Cannot read ${path}: expected ${lengthBytes} bytes at byte ${startByte}, found ${filled}`,
      );
    }
    return bytes;
  } catch (cause) {
    throw cause instanceof RangeError ? cause : fileError(`read ${path}`, cause);
  }
}
