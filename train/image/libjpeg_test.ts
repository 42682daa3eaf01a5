/** Tests of JPEG decoding by libjpeg, and of image files that are damaged or made to harm. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { crc32, deflateSync } from "node:zlib";
import { corrupted, DAMAGES } from "../../tests/corrupt.ts";
import { encodeJpeg, patternImage } from "../../tests/images.ts";
import { decodeImageExactly, encodePng } from "./codec.ts";
import { LibJpeg } from "./libjpeg.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted";

Deno.test({
  name: "LibJpeg decodes beside itself, and goes on after a damaged file",
  ignore,
  fn: async () => {
    const libJpeg = new LibJpeg();
    const file = encodeJpeg(patternImage({ width: 33, height: 17 }, 1));
    const want = await libJpeg.decode(file);
    assertEquals([want.width, want.height], [33, 17]);
    const cut = file.subarray(0, file.length - 40);
    const found = await Promise.all([
      libJpeg.decode(file),
      assertRejects(() => libJpeg.decode(cut), Error, "Premature end"),
      libJpeg.decode(file),
      assertRejects(() => libJpeg.decode(file.subarray(0, file.length - 2)), Error, "Premature"),
      libJpeg.decode(file),
    ]);
    assertEquals([found[0], found[2], found[4]], [want, want, want]);
  },
});

Deno.test({
  name: "LibJpeg accepts bytes between segments, as Pillow does",
  ignore,
  fn: async () => {
    const libJpeg = new LibJpeg();
    const file = encodeJpeg(patternImage({ width: 16, height: 16 }, 1));
    const padded = Uint8Array.of(...file.subarray(0, -2), 0x00, 0x12, 0x34, 0xff, 0xd9);
    assertEquals(await libJpeg.decode(padded), await libJpeg.decode(file));
  },
});

/** A PNG file around packed pixels. */
function png(header: readonly number[], packed: Uint8Array): Uint8Array {
  const chunk = (type: string, data: Uint8Array): number[] => {
    const body = Uint8Array.of(...new TextEncoder().encode(type), ...data);
    return [...word(data.length), ...body, ...word(crc32(body))];
  };
  return Uint8Array.from([
    ...[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
    ...chunk("IHDR", Uint8Array.from(header)),
    ...chunk("IDAT", packed),
    ...chunk("IEND", new Uint8Array()),
  ]);
}

function word(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

Deno.test({
  name:
    "decodeImageExactly() refuses images that unpack to more than they announce, or announce too much",
  ignore,
  fn: async () => {
    const libJpeg = new LibJpeg();
    const bomb = new Uint8Array(deflateSync(new Uint8Array(2 ** 25)));
    const small = [...word(2), ...word(2), 8, 2, 0, 0];
    const before = Deno.memoryUsage().external;
    for (const interlaced of [0, 1]) {
      await assertRejects(
        () => decodeImageExactly(png([...small, interlaced], bomb), libJpeg),
        SyntaxError,
        "undamaged PNG",
      );
    }
    const grown = Deno.memoryUsage().external - before;
    assert(grown < 2 ** 24, `${grown} bytes more`);

    const file = encodeJpeg(patternImage({ width: 16, height: 16 }, 1));
    const frame = file.findIndex((byte, i) => byte === 0xff && file[i + 1] === 0xc0);
    const enormous = file.slice();
    new DataView(enormous.buffer).setUint32(frame + 5, (60000 << 16) | 60000);
    for (const bytes of [enormous, png([...word(60000), ...word(60000), 8, 6, 0, 1], bomb)]) {
      await assertRejects(
        () => decodeImageExactly(bytes, libJpeg),
        RangeError,
        "Cannot decode the image: expected at most 67108864 pixels, found 60000 × 60000",
      );
    }
  },
});

Deno.test({
  name: "decodeImageExactly() answers 200 corruptions of each kind with a clear error or an image",
  ignore,
  fn: async () => {
    const libJpeg = new LibJpeg();
    const image = patternImage({ width: 21, height: 13 }, 5);
    for (const bytes of [encodePng(image), encodeJpeg(image)]) {
      for (const damage of DAMAGES) {
        let refused = 0;
        for (let number = 0; number < 200; number++) {
          // Damage of the size makes larger images; these are allowed 2^20 pixels, for the test's time.
          const options = { maxPixels: 2 ** 20 };
          try {
            const found = await decodeImageExactly(
              corrupted(bytes, damage, { number }),
              libJpeg,
              options,
            );
            assertEquals(found.pixels.length, found.width * found.height * 3);
          } catch (error) {
            if (!(error instanceof SyntaxError || error instanceof RangeError)) throw error;
            assert(error.message.startsWith("Cannot decode the image: "), error.message);
            refused++;
          }
        }
        // A JPEG file has no checksums: damage of its samples gives another picture.
        const least = damage === "cut" ? 198 : bytes[0] === 0x89 ? 190 : 20;
        assert(refused >= least, `${damage}: ${refused} of 200 refused`);
      }
    }
  },
});
