/**
 * Decodes JPEG files to exactly the pixels of libjpeg, by its own code compiled to WebAssembly.
 *
 * @module
 */
import moduleFactory from "@jsquash/jpeg/codec/dec/mozjpeg_dec.js";
import type { RgbImage } from "./codec.ts";

/** The part of the WebAssembly module that is used here. */
interface Decoder {
  decode(
    bytes: Uint8Array,
    preserveOrientation: boolean,
  ): { readonly width: number; readonly height: number; readonly data: Uint8ClampedArray } | null;
}

/** How the module is made. */
type DecoderFactory = (options: {
  readonly noInitialRun: boolean;
  readonly printErr: (line: string) => void;
  readonly instantiateWasm: (
    imports: WebAssembly.Imports,
    done: (instance: WebAssembly.Instance) => void,
  ) => WebAssembly.Exports;
}) => Promise<Decoder>;

/** A decoder's memory never shrinks: after an image of more pixels it is dropped. */
const KEEP_UP_TO_PIXELS = 2 ** 23;

/** What libjpeg complains of without effect on the pixels: bytes between two segments that belong to none. */
const HARMLESS = /extraneous bytes before marker/;

/**
 * libjpeg in WebAssembly. Its results depend on the bytes alone; the instance is kept because making one takes
 * milliseconds, and replaced after a failure, which may have left it in any state.
 */
export class LibJpeg {
  #compiled: Promise<WebAssembly.Module> | undefined;
  #decoder: Promise<Decoder> | undefined;
  #complaints: string[] = [];

  /**
   * Decodes a file.
   *
   * @param bytes A JPEG file of one or three components; EXIF rotation is ignored.
   * @returns The pixels, equal to those of libjpeg (libjpeg-turbo, Pillow, OpenCV) with its default settings.
   * @throws {Error} If the file is damaged, cut short, or of another color space.
   */
  async decode(bytes: Uint8Array): Promise<RgbImage> {
    let started: Promise<Decoder>;
    let decoder: Decoder;
    do {
      started = this.#decoder ??= this.#start();
      decoder = await started;
    } while (started !== this.#decoder); // dropped by another call meanwhile
    this.#decoder = undefined;
    this.#complaints = [];
    let result: ReturnType<Decoder["decode"]>;
    try {
      result = decoder.decode(bytes, false);
    } catch (cause) {
      throw new Error(this.#complaints[0] ?? "libjpeg cannot decode it", { cause });
    }
    const complaint = this.#complaints.find((line) => !HARMLESS.test(line));
    if (complaint !== undefined) throw new Error(complaint);
    if (!result) throw new Error("libjpeg cannot decode it");
    const { width, height, data } = result;
    if (width * height <= KEEP_UP_TO_PIXELS) this.#decoder = started;
    return { width, height, pixels: withoutAlpha(data) };
  }

  async #start(): Promise<Decoder> {
    this.#compiled ??= compile();
    const compiled = await this.#compiled;
    const factory: DecoderFactory = moduleFactory;
    return await factory({
      noInitialRun: true,
      printErr: (line) => void this.#complaints.push(line),
      instantiateWasm: (imports, done) => {
        const instance = new WebAssembly.Instance(compiled, imports);
        done(instance);
        return instance.exports;
      },
    });
  }
}

async function compile(): Promise<WebAssembly.Module> {
  const url = import.meta.resolve("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm");
  return await WebAssembly.compile(await Deno.readFile(new URL(url)));
}

function withoutAlpha(data: Uint8ClampedArray): Uint8Array {
  const pixels = new Uint8Array(data.length / 4 * 3);
  for (let from = 0, to = 0; to < pixels.length; from += 4, to += 3) {
    pixels[to] = data[from] ?? 0;
    pixels[to + 1] = data[from + 1] ?? 0;
    pixels[to + 2] = data[from + 2] ?? 0;
  }
  return pixels;
}
