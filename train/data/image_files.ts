/** Listed images as a data set: decoded when they are loaded, in workers, broken files replaced and counted. @module */

import { createHash } from "node:crypto";
import { UserError } from "../errors.ts";
import { flipHorizontally, samplesToUnit } from "../image/resize.ts";
import {
  checkIndex,
  checkResolution,
  type Dataset,
  drawAugmentation,
  type LoadedImages,
  type LoadImagesOptions,
} from "./dataset.ts";
import { DecodePool, defaultWorkerCount } from "./decode_pool.ts";
import type { ImageList } from "./image_list.ts";
import type { Resampling } from "./prepare.ts";

/** How images are loaded. */
export interface ImageFilesOptions {
  /** Width and height of the images in pixels. */
  readonly resolution: number;
  /** Receives the one line that counts the skipped files. */
  readonly warn: (message: string) => void;
  /** Whether squares are cut at random places, else at the center; default false. */
  readonly randomCrop?: boolean;
  /** Whether images are mirrored at random; default false. */
  readonly horizontalFlip?: boolean;
  /** How images are scaled; default `opencv`. */
  readonly resampling?: Resampling;
  /** Number of decoding workers, 0 for none; by default one core stays free. */
  readonly workers?: number;
  /** Most bytes of decoded images that are kept for the next epoch; default 256 MiB. Random crops are not kept. */
  readonly cacheBytes?: number;
}

const DEFAULT_CACHE_BYTES = 256 * 2 ** 20;

/** Names of skipped files in the warning. */
const NAMES_IN_WARNING = 3;

/** Pixels are made by libjpeg; another decoder would need another name here, as tokens depend on it. */
const DECODER = "libjpeg";

/** A data set of listed images. */
export class ImageFiles implements Dataset {
  readonly classNames: readonly string[];
  readonly length: number;
  readonly resolution: number;
  readonly identity: string;
  readonly #title: string;
  readonly #list: ImageList;
  readonly #options: ImageFilesOptions;
  readonly #pool: DecodePool;
  readonly #kept = new Map<number, Uint8Array>();
  readonly #keepAtMost: number;
  readonly #broken = new Map<number, string>();
  #reported = false;

  /**
   * Makes the data set; no file is opened.
   *
   * @param title What messages call it, such as "the image folder photos".
   * @param list The images.
   * @param options Resolution, random crops and flips, number of workers.
   * @throws {RangeError} If the resolution or the number of workers is impossible.
   */
  constructor(title: string, list: ImageList, options: ImageFilesOptions) {
    const { resolution, resampling = "opencv", cacheBytes = DEFAULT_CACHE_BYTES } = options;
    checkResolution(resolution);
    this.#title = title;
    this.#list = list;
    this.#options = options;
    this.#pool = new DecodePool(options.workers ?? defaultWorkerCount());
    this.#keepAtMost = Math.floor(cacheBytes / (resolution * resolution * 3));
    this.classNames = list.classNames;
    this.length = list.length;
    this.resolution = resolution;
    this.identity = createHash("sha256")
      .update([list.identity, resolution, resampling, DECODER].join(" "))
      .digest("hex");
  }

  label(index: number): number {
    return this.#list.label(index);
  }

  name(index: number): string {
    return this.#list.name(index);
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
      `Skipped ${broken.length} of ${this.length} images of ${this.#title} that cannot be read: ` +
        names.join(", ") + more,
    );
  }

  /** Ends the workers, and tells about the files skipped if nobody did. */
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
      `Cannot use ${this.#title}: expected PNG or JPEG files, found ` +
        `${this.length} that cannot be read (${reason})`,
    );
  }

  async #pixels(
    index: number,
    { augment, view }: LoadImagesOptions,
  ): Promise<Uint8Array | null> {
    if (this.#broken.has(index)) return null;
    const { resolution } = this;
    const { randomCrop = false, horizontalFlip = false, resampling = "opencv" } = this.#options;
    const drawn = view === undefined ? augment && drawAugmentation(index, augment) : undefined;
    const position = view ? view.position : randomCrop ? drawn : undefined;
    const shorterSide = view?.shorterSide ?? resolution;
    const plain = position === undefined && shorterSide === resolution;
    let pixels = plain ? this.#kept.get(index) : undefined;
    if (pixels === undefined) {
      const outcome = await this.#pool.prepare({
        ...this.#list.place(index),
        resolution,
        shorterSide,
        resampling,
        ...(position && { position: { x: position.x, y: position.y } }),
      });
      if ("reason" in outcome) {
        this.#broken.set(index, outcome.reason);
        return null;
      }
      pixels = outcome.pixels;
      if (plain && this.#kept.size < this.#keepAtMost) this.#kept.set(index, pixels);
    }
    const flip = view ? view.flip : horizontalFlip && drawn !== undefined && drawn.flip;
    return flip
      ? flipHorizontally({ width: resolution, height: resolution, pixels }).pixels
      : pixels;
  }
}
