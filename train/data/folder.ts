/** A plain folder of PNG and JPEG images as a data set: its sub-folders are the classes. @module */

import { UserError } from "../errors.ts";
import { flipHorizontally, samplesToUnit } from "../image/resize.ts";
import {
  checkIndex,
  checkResolution,
  type Dataset,
  drawAugmentation,
  type LoadedImages,
  type LoadImagesOptions,
  type Split,
} from "./dataset.ts";
import { DecodePool, defaultWorkerCount } from "./decode_pool.ts";
import { scanFolder, type ScannedFile, type ScannedFolder } from "./scan.ts";

/** How {@linkcode openImageFolder} opens. */
export interface ImageFolderOptions {
  /** Width and height of the images in pixels. */
  readonly resolution: number;
  /** Which part. */
  readonly split: Split;
  /** Receives the one line that counts the skipped files. */
  readonly warn: (message: string) => void;
  /** Whether squares are cut at random places, else at the center; default false. */
  readonly randomCrop?: boolean;
  /** Whether images are mirrored at random; default false. */
  readonly horizontalFlip?: boolean;
  /** Number of decoding workers, 0 for none; by default one core stays free. */
  readonly workers?: number;
  /** Most bytes of decoded images that are kept for the next epoch; default 256 MiB. Random crops are not kept. */
  readonly cacheBytes?: number;
}

const DEFAULT_CACHE_BYTES = 256 * 2 ** 20;

/** Names of skipped files in the warning. */
const NAMES_IN_WARNING = 3;

/**
 * Opens one split of a folder of images; see `scanFolder` for the layouts it may have.
 *
 * Files are decoded when they are loaded, in workers. A broken file is skipped: the next readable one takes its place,
 * and the end of the epoch counts them in one warning.
 *
 * @param folder Path of the folder.
 * @param options Resolution, split, random crops and flips, number of workers.
 * @returns The data set. Dispose it to end its workers.
 * @throws {UserError} If the folder cannot be read or holds no image.
 * @throws {RangeError} If the resolution or the number of workers is impossible.
 */
export function openImageFolder(folder: string, options: ImageFolderOptions): Dataset {
  checkResolution(options.resolution);
  return new ImageFolder(folder, scanFolder(folder, options.split), options);
}

class ImageFolder implements Dataset {
  readonly classNames: readonly string[];
  readonly length: number;
  readonly resolution: number;
  readonly #folder: string;
  readonly #files: readonly ScannedFile[];
  readonly #options: ImageFolderOptions;
  readonly #pool: DecodePool;
  readonly #kept = new Map<number, Uint8Array>();
  readonly #keepAtMost: number;
  readonly #broken = new Map<number, string>();
  #reported = false;

  constructor(folder: string, scanned: ScannedFolder, options: ImageFolderOptions) {
    const { resolution, cacheBytes = DEFAULT_CACHE_BYTES } = options;
    this.#folder = folder;
    this.#files = scanned.files;
    this.#options = options;
    this.#pool = new DecodePool(options.workers ?? defaultWorkerCount());
    this.#keepAtMost = Math.floor(cacheBytes / (resolution * resolution * 3));
    this.classNames = scanned.classNames;
    this.length = scanned.files.length;
    this.resolution = resolution;
  }

  label(index: number): number {
    return this.#file(index).label;
  }

  name(index: number): string {
    return this.#file(index).name;
  }

  async load(indices: ArrayLike<number>, options: LoadImagesOptions = {}): Promise<LoadedImages> {
    const size = this.resolution * this.resolution * 3;
    const images = new Float32Array(indices.length * size);
    const used = Uint32Array.from(indices);
    await Promise.all(Array.from(indices, async (wanted, slot) => {
      checkIndex(wanted, this);
      const found = await this.#firstReadable(wanted, options);
      samplesToUnit(found.pixels, images.subarray(slot * size, (slot + 1) * size));
      used[slot] = found.index;
    }));
    return { images, indices: used };
  }

  reportSkipped(): void {
    if (this.#reported || this.#broken.size === 0) return;
    this.#reported = true;
    const broken = [...this.#broken].sort(([a], [b]) => a - b);
    const names = broken.slice(0, NAMES_IN_WARNING).map(([index, reason]) =>
      `${this.name(index)} (${reason})`
    );
    const more = broken.length > NAMES_IN_WARNING ? ", …" : "";
    this.#options.warn(
      `Skipped ${broken.length} of ${this.length} images of ${this.#folder} that cannot be read: ` +
        names.join(", ") + more,
    );
  }

  [Symbol.dispose](): void {
    this.#pool[Symbol.dispose]();
    this.reportSkipped();
  }

  /** The wanted image, or the next one that can be read: that depends on the files alone, so a resumed run agrees. */
  async #firstReadable(
    wanted: number,
    options: LoadImagesOptions,
  ): Promise<{ index: number; pixels: Uint8Array }> {
    for (let tried = 0; tried < this.length; tried++) {
      const index = (wanted + tried) % this.length;
      const pixels = await this.#pixels(index, options);
      if (pixels) return { index, pixels };
    }
    const reason = [...this.#broken.values()][0] ?? "";
    throw new UserError(
      `Cannot use the image folder ${this.#folder}: expected PNG or JPEG files, found ` +
        `${this.length} that cannot be read (${reason})`,
    );
  }

  async #pixels(index: number, options: LoadImagesOptions): Promise<Uint8Array | null> {
    if (this.#broken.has(index)) return null;
    const { resolution } = this;
    const { randomCrop = false, horizontalFlip = false } = this.#options;
    const drawn = options.augment && drawAugmentation(index, options.augment);
    let pixels = this.#kept.get(index);
    if (pixels === undefined || (randomCrop && drawn)) {
      const outcome = await this.#pool.prepare({
        path: this.#file(index).path,
        resolution,
        ...(randomCrop && drawn ? { position: { x: drawn.x, y: drawn.y } } : {}),
      });
      if ("reason" in outcome) {
        this.#broken.set(index, outcome.reason);
        return null;
      }
      pixels = outcome.pixels;
      if (!(randomCrop && drawn) && this.#kept.size < this.#keepAtMost) {
        this.#kept.set(index, pixels);
      }
    }
    const flip = horizontalFlip && drawn !== undefined && drawn.flip;
    return flip
      ? flipHorizontally({ width: resolution, height: resolution, pixels }).pixels
      : pixels;
  }

  #file(index: number): ScannedFile {
    checkIndex(index, this);
    const file = this.#files[index];
    if (file === undefined) throw new RangeError(`Cannot take image ${index}: found none`);
    return file;
  }
}
