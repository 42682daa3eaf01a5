/** What the default run is judged by: signal to noise, unigram entropy, and the share of samples that look like their class. @module */

/**
 * Peak signal-to-noise ratio of images in [-1, 1], averaged over images.
 *
 * @param images Pixels, shape (batch, …).
 * @param reconstructions Same shape; values are clamped to [-1, 1].
 * @param batch Number of images.
 * @returns Mean over images of `-10 log10(mean squared error / 4)`, in dB; the peak-to-peak range is 2.
 */
export function peakSignalToNoise(
  images: Float32Array,
  reconstructions: Float32Array,
  batch: number,
): number {
  const size = images.length / batch;
  let total = 0;
  for (let image = 0; image < batch; image++) {
    let squares = 0;
    for (let i = image * size; i < (image + 1) * size; i++) {
      const difference = images[i]! - Math.min(1, Math.max(-1, reconstructions[i]!));
      squares += difference * difference;
    }
    total += -10 * Math.log10(Math.max(squares / size / 4, Number.MIN_VALUE));
  }
  return total / batch;
}

/**
 * Entropy of single tokens under frequencies counted on other tokens, with one added to each count.
 *
 * @param counted How often each code occurs in what is counted (training).
 * @param measured How often each occurs in what is measured (validation).
 * @returns Nats a token, the mean negative log-likelihood of `measured`: what a model that knows the frequencies only
 * would reach.
 */
export function unigramCrossEntropy(counted: Float64Array, measured: Float64Array): number {
  const total = sumOf(counted) + counted.length;
  return measured.reduce(
    (sum, count, code) => count === 0 ? sum : sum - count * Math.log((counted[code]! + 1) / total),
    0,
  ) / sumOf(measured);
}

/**
 * Entropy of the frequencies of tokens.
 *
 * @param counts How often each code occurs.
 * @returns Nats a token.
 */
export function unigramEntropy(counts: Float64Array): number {
  const total = sumOf(counts);
  return counts.reduce(
    (sum, count) => count === 0 ? sum : sum - count / total * Math.log(count / total),
    0,
  );
}

function sumOf(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** An image and its class. */
export interface LabeledImage {
  /** Its class. */
  readonly label: number;
  /** Its pixels. */
  readonly pixels: Float32Array;
}

/**
 * Mean images of classes. They are kept in a temporary file, as those of many classes do not fit memory: that holds two at a time.
 * Disposing it removes the file.
 */
export class ClassMeans implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #size: number;
  readonly #total: Float64Array;
  /** Classes in the order of their means in the file. */
  readonly #labels: number[] = [];
  #images = 0;

  private constructor(path: string, size: number) {
    this.#path = path;
    this.#file = Deno.openSync(path, { read: true, write: true });
    this.#size = size;
    this.#total = new Float64Array(size);
  }

  /**
   * Averages images.
   *
   * @param images Images in the order of their classes.
   * @param size Numbers of one image.
   * @returns The means; dispose of them after use.
   * @throws {RangeError} If a class comes a second time.
   */
  static async of(images: AsyncIterable<LabeledImage>, size: number): Promise<ClassMeans> {
    const means = new ClassMeans(await Deno.makeTempFile({ prefix: "tessera-means-" }), size);
    try {
      await means.#average(images);
      return means;
    } catch (error) {
      means[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Averages over all classes.
   *
   * @returns The mean of all images.
   */
  overall(): Float32Array {
    return Float32Array.from(this.#total, (sum) => sum / this.#images);
  }

  /**
   * Counts the images whose nearest class mean, by squared distance, is that of their own class.
   *
   * @param images Pixels, shape (batch, …).
   * @param labels Class of each, shape (batch).
   * @returns The count.
   */
  countNearest(images: Float32Array, labels: ArrayLike<number>): number {
    const least = new Float64Array(labels.length).fill(Infinity);
    const nearest = new Int32Array(labels.length).fill(-1);
    const mean = new Float32Array(this.#size);
    this.#file.seekSync(0, Deno.SeekMode.Start);
    for (const label of this.#labels) {
      readWhole(this.#file, new Uint8Array(mean.buffer));
      for (let image = 0; image < labels.length; image++) {
        let distance = 0;
        for (let i = 0; i < mean.length; i++) {
          const difference = images[image * mean.length + i]! - mean[i]!;
          distance += difference * difference;
        }
        if (distance >= least[image]!) continue;
        least[image] = distance;
        nearest[image] = label;
      }
    }
    return nearest.reduce((hits, label, image) => hits + Number(label === labels[image]), 0);
  }

  /** Removes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
    Deno.removeSync(this.#path);
  }

  async #average(images: AsyncIterable<LabeledImage>): Promise<void> {
    const sum = new Float64Array(this.#size);
    let count = 0;
    const finish = (): void => {
      if (count === 0) return;
      writeWhole(
        this.#file,
        new Uint8Array(Float32Array.from(sum, (value) => value / count).buffer),
      );
      for (let i = 0; i < sum.length; i++) this.#total[i]! += sum[i]!;
      this.#images += count;
      count = 0;
      sum.fill(0);
    };
    for await (const { label, pixels } of images) {
      if (label !== this.#labels.at(-1)) {
        finish();
        if (this.#labels.includes(label)) {
          throw new RangeError(
            `Cannot average images: expected class ${label} once, found it again`,
          );
        }
        this.#labels.push(label);
      }
      for (let i = 0; i < sum.length; i++) sum[i]! += pixels[i]!;
      count++;
    }
    finish();
  }
}

function writeWhole(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}

function readWhole(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    const count = file.readSync(bytes.subarray(done));
    if (count === null) {
      throw new Error("Cannot read class means: expected what was written, found less");
    }
    done += count;
  }
}
