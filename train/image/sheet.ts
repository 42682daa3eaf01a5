/** Arranges images in a labeled grid: contact sheets of samples and grids of reconstructions. @module */

import type { RgbImage } from "./codec.ts";
import { openSvgRasterizer } from "./svg.ts";
import {
  lineHeight,
  SHEET_GRAY,
  sheetFontFile,
  type TextLine,
  textSvg,
  textWidth,
} from "./sheet_text.ts";

/** One row of a sheet. */
export interface SheetRow {
  /** The images, from left to right; rows may differ in number, images in size. */
  readonly images: readonly RgbImage[];
  /** Written at the left of the row. */
  readonly label?: string;
  /** Written under each image, in the same order. */
  readonly captions?: readonly string[];
}

/** How {@linkcode makeSheet} arranges. */
export interface SheetOptions {
  /** Written above everything. */
  readonly title?: string;
  /** Written above each column. */
  readonly columnLabels?: readonly string[];
  /** Pixels of the sheet per pixel of an image, a whole number; chosen to give tiles of at least 64 pixels if absent. */
  readonly zoom?: number;
}

/** Distances in pixels of the sheet. */
const MARGIN = 12;
const GAP = 6;
const FONT_SIZE = 13;
const TITLE_FONT_SIZE = 16;
const SMALLEST_TILE = 64;
const LARGEST_LABEL_WIDTH = 220;
const LARGEST_TITLE_WIDTH = 640;

/** The place of one image in the sheet. */
interface Tile {
  readonly image: RgbImage;
  readonly left: number;
  readonly top: number;
}

/**
 * Arranges images in rows on light gray, with labels beside, above and below them.
 *
 * Labels that do not fit are shortened with an ellipsis; they never touch an image. Text needs the permissions to read
 * and to call foreign functions; a sheet without text needs none.
 *
 * @param rows At least one row with at least one image.
 * @param options Title, labels of the columns, and zoom.
 * @returns The sheet, to be written with `encodePng`.
 * @throws {RangeError} If there is no image, or zoom is not a positive whole number.
 */
export async function makeSheet(
  rows: readonly SheetRow[],
  options: SheetOptions = {},
): Promise<RgbImage> {
  const { tiles, lines, width, height, zoom } = layOut(rows, options);
  const sheet = await background(lines, { width, height });
  for (const tile of tiles) paste(sheet, tile, zoom);
  return sheet;
}

interface Layout {
  readonly tiles: readonly Tile[];
  readonly lines: readonly TextLine[];
  readonly width: number;
  readonly height: number;
  readonly zoom: number;
}

function layOut(rows: readonly SheetRow[], options: SheetOptions): Layout {
  const images = rows.flatMap((row) => row.images);
  const columns = Math.max(0, ...rows.map((row) => row.images.length));
  if (columns === 0) throw new RangeError("Cannot make a sheet: expected an image, found none");
  const widest = images.reduce((most, image) => Math.max(most, image.width), 0);
  const highest = images.reduce((most, image) => Math.max(most, image.height), 0);
  const { zoom = Math.ceil(SMALLEST_TILE / Math.max(widest, highest)) } = options;
  if (!Number.isInteger(zoom) || zoom < 1) {
    throw new RangeError(`Cannot make a sheet: expected a whole zoom of at least 1, found ${zoom}`);
  }
  const tileWidth = widest * zoom;
  const tileHeight = highest * zoom;
  const line = lineHeight(FONT_SIZE);
  const lines: TextLine[] = [];
  const tiles: Tile[] = [];

  const longestLabel = Math.max(0, ...rows.map((row) => textWidth(row.label ?? "", FONT_SIZE)));
  const labelWidth = Math.ceil(Math.min(longestLabel, LARGEST_LABEL_WIDTH));
  const gridLeft = MARGIN + (labelWidth > 0 ? labelWidth + GAP : 0);
  const gridWidth = columns * (tileWidth + GAP) - GAP;
  const title = options.title ?? "";
  const titleWidth = Math.ceil(
    Math.min(textWidth(title, TITLE_FONT_SIZE), LARGEST_TITLE_WIDTH),
  );
  const width = Math.max(gridLeft + gridWidth, MARGIN + titleWidth) + MARGIN;
  const columnLeft = (column: number) => gridLeft + column * (tileWidth + GAP);

  let top = MARGIN;
  if (title !== "") {
    lines.push({
      text: title,
      left: MARGIN,
      top,
      width: width - 2 * MARGIN,
      fontSize: TITLE_FONT_SIZE,
    });
    top += lineHeight(TITLE_FONT_SIZE) + GAP;
  }
  const aboveTile = { width: tileWidth, fontSize: FONT_SIZE, align: "middle" } as const;
  const columnLabels = options.columnLabels?.slice(0, columns) ?? [];
  if (columnLabels.length > 0) {
    columnLabels.forEach((text, i) => lines.push({ ...aboveTile, text, left: columnLeft(i), top }));
    top += line + GAP / 2;
  }
  for (const row of rows) {
    if (row.label) {
      const middle = top + Math.max(0, Math.floor((tileHeight - line) / 2));
      lines.push({
        text: row.label,
        left: MARGIN,
        top: middle,
        width: labelWidth,
        fontSize: FONT_SIZE,
        align: "end",
      });
    }
    row.images.forEach((image, i) => tiles.push({ image, left: columnLeft(i), top }));
    top += Math.max(tileHeight, row.label ? line : 0);
    const captions = row.captions?.slice(0, row.images.length) ?? [];
    if (captions.length > 0) {
      captions.forEach((text, i) => lines.push({ ...aboveTile, text, left: columnLeft(i), top }));
      top += line;
    }
    top += GAP;
  }
  return { tiles, lines, width, height: top - GAP + MARGIN, zoom };
}

/** The sheet before the images are pasted into it. */
async function background(
  lines: readonly TextLine[],
  size: { readonly width: number; readonly height: number },
): Promise<RgbImage> {
  if (lines.length === 0) {
    return { ...size, pixels: new Uint8Array(size.width * size.height * 3).fill(SHEET_GRAY) };
  }
  const rasterize = await openSvgRasterizer();
  return rasterize(textSvg(lines, size), { width: size.width, fontFiles: [sheetFontFile()] });
}

function paste(sheet: RgbImage, tile: Tile, zoom: number): void {
  const { image, left, top } = tile;
  for (let y = 0; y < image.height * zoom; y++) {
    const fromRow = Math.floor(y / zoom) * image.width;
    let to = ((top + y) * sheet.width + left) * 3;
    for (let x = 0; x < image.width * zoom; x++, to += 3) {
      const from = (fromRow + Math.floor(x / zoom)) * 3;
      sheet.pixels[to] = image.pixels[from] ?? 0;
      sheet.pixels[to + 1] = image.pixels[from + 1] ?? 0;
      sheet.pixels[to + 2] = image.pixels[from + 2] ?? 0;
    }
  }
}
