/** Turns SVG drawings into pixels. @module */

import type { RgbImage } from "./codec.ts";

/** How {@linkcode openSvgRasterizer}'s function draws. */
export interface RasterizeOptions {
  /** Width of the result in pixels; the height follows from the drawing. */
  readonly width: number;
  /** Paths of font files for the drawing's text; without any, text stays invisible. */
  readonly fontFiles?: readonly string[];
}

/** Draws one SVG text on white. */
export type SvgRasterizer = (svg: string, options: RasterizeOptions) => RgbImage;

/**
 * Loads the native SVG renderer, resvg.
 *
 * It is loaded on demand, as loading needs the permission for foreign functions (`--allow-ffi`). No font of the system
 * is ever used, so the same drawing gives the same pixels on every machine.
 *
 * @returns A function that draws on white and drops alpha; it throws an Error for text that is no SVG.
 */
export async function openSvgRasterizer(): Promise<SvgRasterizer> {
  const { Resvg } = await import("@resvg/resvg-js");
  return (svg, options) => {
    const { width, fontFiles = [] } = options;
    const rendered = new Resvg(svg, {
      fitTo: { mode: "width", value: width },
      background: "white",
      font: { loadSystemFonts: false, fontFiles: [...fontFiles] },
    }).render();
    const rgba = rendered.pixels;
    const pixels = new Uint8Array(rendered.width * rendered.height * 3);
    for (let from = 0, to = 0; to < pixels.length; from += 4, to += 3) {
      pixels[to] = rgba[from] ?? 0;
      pixels[to + 1] = rgba[from + 1] ?? 0;
      pixels[to + 2] = rgba[from + 2] ?? 0;
    }
    return { width: rendered.width, height: rendered.height, pixels };
  };
}
