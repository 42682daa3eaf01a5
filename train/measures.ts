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

/** Mean images of classes, summed one image after the other. */
export class ClassMeans {
  readonly #sums: Float64Array[];
  readonly #counts: number[];

  /**
   * Starts without images.
   *
   * @param classes Number of classes.
   * @param size Numbers of one image.
   */
  constructor(readonly classes: number, readonly size: number) {
    this.#sums = Array.from({ length: classes }, () => new Float64Array(size));
    this.#counts = new Array<number>(classes).fill(0);
  }

  /**
   * Adds images.
   *
   * @param images Pixels, shape (batch, …).
   * @param labels Class of each, shape (batch).
   */
  add(images: Float32Array, labels: ArrayLike<number>): void {
    for (let image = 0; image < labels.length; image++) {
      const sum = this.#sums[labels[image]!]!;
      this.#counts[labels[image]!]!++;
      for (let i = 0; i < this.size; i++) sum[i]! += images[image * this.size + i]!;
    }
  }

  /**
   * Averages over all classes.
   *
   * @returns The mean of all images.
   */
  overall(): Float32Array {
    const total = this.#counts.reduce((sum, count) => sum + count, 0);
    const mean = new Float32Array(this.size);
    for (const sum of this.#sums) for (let i = 0; i < this.size; i++) mean[i]! += sum[i]! / total;
    return mean;
  }

  /**
   * Counts the images whose nearest class mean, by squared distance, is that of their own class.
   *
   * @param images Pixels, shape (batch, …).
   * @param labels Class of each, shape (batch).
   * @returns The count.
   */
  countNearest(images: Float32Array, labels: ArrayLike<number>): number {
    let hits = 0;
    for (let image = 0; image < labels.length; image++) {
      let nearest = -1;
      let least = Infinity;
      for (const [label, sum] of this.#sums.entries()) {
        const count = this.#counts[label]!;
        if (count === 0) continue;
        let distance = 0;
        for (let i = 0; i < this.size; i++) {
          const difference = images[image * this.size + i]! - sum[i]! / count;
          distance += difference * difference;
        }
        if (distance < least) {
          least = distance;
          nearest = label;
        }
      }
      if (nearest === labels[image]) hits++;
    }
    return hits;
  }
}
