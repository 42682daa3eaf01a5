/** A sheet of images above their reconstructions, as long as it stays a picture that can be looked at. @module */

import type { RgbImage } from "../image/codec.ts";
import type { SheetRow } from "../image/sheet.ts";

/** Pairs of images in one row of the sheet. */
const PAIRS_IN_A_ROW = 8;
/** Most pixels of all images of a sheet, each counted as large as the largest. */
export const MOST_SHEET_PIXELS = 2 ** 25;

/** Collects pairs until they are too many for a sheet; then it keeps only their number. */
export class PairSheet {
  #pairs: { image: RgbImage; picture: RgbImage }[] = [];
  #count = 0;
  #largest = 0;

  /** Pairs that were added. */
  get count(): number {
    return this.#count;
  }

  /** Whether they are few and small enough for a sheet. */
  get fits(): boolean {
    return 2 * this.#count * this.#largest <= MOST_SHEET_PIXELS;
  }

  /**
   * Adds a pair.
   *
   * @param image The image.
   * @param picture Its reconstruction.
   */
  add(image: RgbImage, picture: RgbImage): void {
    this.#count++;
    this.#largest = Math.max(this.#largest, image.width * image.height);
    if (this.fits) this.#pairs.push({ image, picture });
    else this.#pairs = [];
  }

  /**
   * Arranges the pairs.
   *
   * @returns Rows of images, each above a row of their reconstructions.
   */
  rows(): SheetRow[] {
    const rows: SheetRow[] = [];
    for (let start = 0; start < this.#pairs.length; start += PAIRS_IN_A_ROW) {
      const pairs = this.#pairs.slice(start, start + PAIRS_IN_A_ROW);
      rows.push({ label: "images", images: pairs.map(({ image }) => image) });
      rows.push({ label: "reconstructions", images: pairs.map(({ picture }) => picture) });
    }
    return rows;
  }
}
