/** Text of image sheets as SVG: a monospaced font, so that widths are known without measuring. @module */

// Imported so that the package, and with it the font file beside this one, is installed.
import fontPackage from "dejavu-fonts-ttf/package.json" with { type: "json" };

/** Advance of every character of DejaVu Sans Mono, in units of the font size: 1233 / 2048. */
const ADVANCE = 1233 / 2048;

/** Height of the font above the base line, in units of the font size. */
const ASCENT = 0.93;

const ELLIPSIS = "…";

/** Red, green and blue of the background: light gray, so that the edges of white images can be seen. */
export const SHEET_GRAY = 236;

/** A line of text in a sheet. */
export interface TextLine {
  /** What is written; shortened to the width. */
  readonly text: string;
  /** Left edge of its box in pixels. */
  readonly left: number;
  /** Upper edge of its box in pixels. */
  readonly top: number;
  /** Width of its box in pixels. */
  readonly width: number;
  /** Height of the letters (em) in pixels. */
  readonly fontSize: number;
  /** Where the text sits in its box; `start` if absent. */
  readonly align?: "start" | "middle" | "end";
}

/**
 * Path of the font file for {@linkcode textSvg}'s drawing.
 *
 * @returns A path on this machine.
 * @throws {Error} If the font package has no file address on this machine.
 */
export function sheetFontFile(): string {
  const manifest = new URL(import.meta.resolve(`${fontPackage.name}/package.json`));
  const url = new URL("ttf/DejaVuSansMono.ttf", manifest);
  if (url.protocol !== "file:") {
    throw new Error(`Cannot find the font ${url.href}: expected a file`);
  }
  const path = decodeURIComponent(url.pathname);
  return Deno.build.os === "windows" ? path.slice(1) : path;
}

/**
 * Width of a text.
 *
 * @param text One line.
 * @param fontSize Height of the letters in pixels.
 * @returns Width in pixels.
 */
export function textWidth(text: string, fontSize: number): number {
  return graphemes(text).length * ADVANCE * fontSize;
}

/**
 * Shortens a text to a width, with an ellipsis where something is left out.
 *
 * @param text One line.
 * @param options The width that is available and the height of the letters, in pixels.
 * @returns The text, or its beginning and "…", or nothing where not even one letter fits.
 */
export function fitText(
  text: string,
  options: { readonly width: number; readonly fontSize: number },
): string {
  const clusters = graphemes(text);
  const fits = Math.floor(options.width / (ADVANCE * options.fontSize) + 1e-9);
  if (clusters.length <= fits) return clusters.join("");
  if (fits < 2) return "";
  return clusters.slice(0, fits - 1).join("").trimEnd() + ELLIPSIS;
}

/**
 * Draws lines of text; each stays in its box, whatever the font makes of rare characters.
 *
 * @param lines The text.
 * @param size Width and height of the drawing in pixels.
 * @returns An SVG document with a background of `SHEET_GRAY`.
 */
export function textSvg(
  lines: readonly TextLine[],
  size: { readonly width: number; readonly height: number },
): string {
  const boxes = lines.map((line) => {
    const { left, top, width, fontSize, align = "start" } = line;
    const x = align === "start" ? 0 : align === "end" ? width : width / 2;
    const height = lineHeight(fontSize);
    return `<svg x="${left}" y="${top}" width="${width}" height="${height}" overflow="hidden">` +
      `<text x="${x}" y="${ASCENT * fontSize}" text-anchor="${align}" font-size="${fontSize}" ` +
      `font-family="DejaVu Sans Mono" fill="#222" xml:space="preserve">` +
      `${escapeXml(fitText(line.text, line))}</text></svg>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}">` +
    `<rect width="100%" height="100%" fill="rgb(${SHEET_GRAY},${SHEET_GRAY},${SHEET_GRAY})"/>` +
    `${boxes.join("")}</svg>`;
}

/**
 * Height of the box of one line of text.
 *
 * @param fontSize Height of the letters in pixels.
 * @returns Height in whole pixels, ascent and descent included.
 */
export function lineHeight(fontSize: number): number {
  return Math.ceil(fontSize * 1.2);
}

/** Characters as a reader counts them; line breaks and control characters become spaces. */
function graphemes(text: string): string[] {
  const line = text.toWellFormed().replace(/[\p{Cc}\p{Cs}\u2028\u2029\ufffe\uffff]/gu, " ");
  return Array.from(new Intl.Segmenter("en").segment(line), (part) => part.segment);
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
