/** Small images and folders of them, made on the spot, for tests of everything that reads images. @module */

import jpeg from "jpeg-js";
import { mix32 } from "../models/hash.ts";
import { encodePng, type RgbImage } from "../train/image/codec.ts";

/**
 * Makes a smooth picture with a little noise; the same for the same arguments.
 *
 * @param size Width and height in pixels.
 * @param seed Which picture.
 * @returns The picture.
 */
export function patternImage(
  size: { readonly width: number; readonly height: number },
  seed: number,
): RgbImage {
  const { width, height } = size;
  const pixels = new Uint8Array(width * height * 3);
  for (let i = 0; i < pixels.length; i++) {
    const x = Math.floor(i / 3) % width;
    const y = Math.floor(i / 3 / width);
    const wave = Math.sin((x * (1 + (seed % 5))) / 9 + (i % 3)) + Math.cos(y / 7 + seed);
    pixels[i] = 128 + 55 * wave + (mix32(i + seed) % 16);
  }
  return { width, height, pixels };
}

/**
 * Encodes a picture as a JPEG file.
 *
 * @param image The picture.
 * @returns The bytes of the file, quality 90.
 */
export function encodeJpeg(image: RgbImage): Uint8Array<ArrayBuffer> {
  const { width, height, pixels } = image;
  const data = new Uint8Array(width * height * 4);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    data.set(pixels.subarray(from, from + 3), to);
  }
  return new Uint8Array(jpeg.encode({ width, height, data }, 90).data);
}

/**
 * Runs a test body with a temporary folder of files, and removes the folder.
 *
 * @param files Relative paths and what is in them: bytes, or the seed of a 40 × 30 PNG picture.
 * @param body Receives the path of the folder.
 */
export async function withFolder(
  files: Readonly<Record<string, Uint8Array | number>>,
  body: (folder: string) => Promise<void> | void,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "tessera-" });
  try {
    for (const [path, content] of Object.entries(files)) {
      const full = `${folder}/${path}`;
      await Deno.mkdir(full.slice(0, full.lastIndexOf("/")), { recursive: true });
      await Deno.writeFile(
        full,
        typeof content === "number"
          ? encodePng(patternImage({ width: 40, height: 30 }, content))
          : content,
      );
    }
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
