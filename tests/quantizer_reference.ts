/** Index backpropagation quantization in double precision on the host, with every probability and one-hot written out. @module */

/** What {@linkcode quantizerReference} computes with. */
export interface QuantizerReferenceOptions {
  /** Numbers of a token. */
  dimensions: number;
  /** Weight of the third mean of the quantization loss. */
  beta: number;
  /** Temperature T of the entropies. */
  entropyTemperature: number;
  /** Weight of the sample entropy. */
  sampleMinimizationWeight: number;
  /** Weight of the average entropy. */
  batchMaximizationWeight: number;
  /** Upstream gradient of z_q. */
  dzq: ArrayLike<number>;
  /** Upstream gradient of the quantization loss. */
  dquantLoss: number;
  /** Upstream gradient of the entropy loss. */
  dEntropyLoss: number;
}

/** Values and gradients of {@linkcode quantizerReference}. */
export interface QuantizerReference {
  /** Chosen codes. */
  indices: number[];
  /** Chosen vectors, (rows, dimensions). */
  zq: number[];
  /** Quantization loss. */
  quantLoss: number;
  /** Mean entropy of a token. */
  sampleEntropy: number;
  /** Entropy of the mean. */
  averageEntropy: number;
  /** Gradient by the tokens. */
  dz: number[];
  /** Gradient by the codebook. */
  dcodebook: number[];
}

function softmax(logits: number[]): number[] {
  const largest = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  const total = exponentials.reduce((a, b) => a + b);
  return exponentials.map((value) => value / total);
}

/** Gradient by the logits from the gradient by their softmax. */
function softmaxBackward(probabilities: number[], gradient: number[]): number[] {
  const mean = probabilities.reduce((sum, p, k) => sum + p * gradient[k]!, 0);
  return probabilities.map((p, k) => p * (gradient[k]! - mean));
}

/**
 * Quantizes and differentiates, following the reference's definition term by term.
 *
 * @param z Tokens, (rows, dimensions).
 * @param codebook Codes, (codes, dimensions).
 * @param options Weights and upstream gradients.
 * @returns Values and gradients.
 */
export function quantizerReference(
  z: ArrayLike<number>,
  codebook: ArrayLike<number>,
  options: QuantizerReferenceOptions,
): QuantizerReference {
  const { dimensions, beta, entropyTemperature: temperature, dzq, dquantLoss, dEntropyLoss } =
    options;
  const split = (values: ArrayLike<number>): number[][] =>
    Array.from(
      { length: values.length / dimensions },
      (_, i) => Array.from({ length: dimensions }, (_, d) => values[i * dimensions + d]!),
    );
  const tokens = split(z);
  const codes = split(codebook);
  const dot = (a: number[], b: number[]): number => a.reduce((s, v, d) => s + v * b[d]!, 0);
  const logits = tokens.map((token) => codes.map((code) => dot(token, code)));
  const indices = logits.map((row) => row.indexOf(Math.max(...row)));
  const zq = indices.map((index) => codes[index]!);
  const soft = logits.map(softmax);
  const sharp = logits.map((row) => softmax(row.map((logit) => logit / temperature)));
  const average = codes.map((_, k) => sharp.reduce((s, row) => s + row[k]!, 0) / tokens.length);
  const xlog = (p: number): number => p > 0 ? p * Math.log(p) : 0;
  const sampleEntropy = -sharp.flat().reduce((s, p) => s + xlog(p), 0) / tokens.length;
  const averageEntropy = -average.reduce((s, p) => s + p * Math.log(p + 1e-5), 0);
  const elements = tokens.length * dimensions;
  let squares = 0;
  const dz = tokens.map((token) => token.map(() => 0));
  const dcodebook = codes.map((code) => code.map(() => 0));
  for (const [n, token] of tokens.entries()) {
    const chosen = indices[n]!;
    const upstream = token.map((value, d) => {
      const difference = zq[n]![d]! - value;
      squares += difference * difference;
      const slope = 2 * dquantLoss * difference / elements;
      // The first two means move the token, the third the chosen code.
      dz[n]![d]! -= 2 * slope;
      dcodebook[chosen]![d]! += beta * slope;
      return dzq[n * dimensions + d]! + slope;
    });
    // z_q = one-hot · codebook, where the one-hot has the value of the hard and the gradient of the soft one.
    upstream.forEach((value, d) => dcodebook[chosen]![d]! += value);
    const dsoft = codes.map((code) => dot(upstream, code));
    const dsharp = sharp[n]!.map((p, k) => {
      const sample = p > 0 ? -(Math.log(p) + 1) : 0;
      const mean = -(Math.log(average[k]! + 1e-5) + average[k]! / (average[k]! + 1e-5));
      return dEntropyLoss / tokens.length *
        (options.sampleMinimizationWeight * sample - options.batchMaximizationWeight * mean);
    });
    const fromSoft = softmaxBackward(soft[n]!, dsoft);
    const fromSharp = softmaxBackward(sharp[n]!, dsharp);
    for (const [k, code] of codes.entries()) {
      const dlogit = fromSoft[k]! + fromSharp[k]! / temperature;
      for (let d = 0; d < dimensions; d++) {
        dz[n]![d]! += dlogit * code[d]!;
        dcodebook[k]![d]! += dlogit * token[d]!;
      }
    }
  }
  return {
    indices,
    zq: zq.flat(),
    quantLoss: (2 + beta) * squares / elements,
    sampleEntropy,
    averageEntropy,
    dz: dz.flat(),
    dcodebook: dcodebook.flat(),
  };
}
