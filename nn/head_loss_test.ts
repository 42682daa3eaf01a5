import { assert, assertEquals, assertThrows } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase, randomNumbers } from "../tests/op_case.ts";
import { linearCrossEntropy, type LinearCrossEntropyOptions } from "./head_loss.ts";
import { linear } from "./linear.ts";
import { crossEntropy } from "./losses.ts";
import { Tape } from "./tape.ts";
import { Parameter } from "./tensor.ts";

interface Sizes {
  rows: number;
  channels: number;
  vocabulary: number;
}

function reference(
  { x, weight, targets }: Record<string, number[]>,
  { rows, channels, vocabulary }: Sizes,
): number[] {
  let loss = 0;
  for (let r = 0; r < rows; r++) {
    const logits = Array.from({ length: vocabulary }, (_, v) => {
      let sum = 0;
      for (let c = 0; c < channels; c++) sum += x![r * channels + c]! * weight![v * channels + c]!;
      return sum;
    });
    const greatest = Math.max(...logits);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit - greatest), 0);
    loss += (greatest + Math.log(total) - logits[targets![r]!]!) / rows;
  }
  return [loss];
}

function lossCase(
  name: string,
  sizes: Sizes,
  options: LinearCrossEntropyOptions & Pick<OpCase, "bindingLimit"> & { scale?: number } = {},
): OpCase {
  const { rows, channels, vocabulary } = sizes;
  const { bindingLimit, scale = 1, ...rest } = options;
  return {
    name,
    inputs: {
      x: { shape: [rows, channels], scale },
      weight: { shape: [vocabulary, channels] },
      targets: {
        shape: [rows],
        // The first and the last column are among them.
        values: Array.from(
          { length: rows },
          (_, i) => i === 0 ? vocabulary - 1 : i * 37 % vocabulary,
        ),
        dtype: "u32",
      },
    },
    run: ({ x, weight, targets }) => linearCrossEntropy(x!, weight!, targets!, rest),
    reference: (inputs) => reference(inputs, sizes),
    close: REDUCTION,
    ...(bindingLimit === undefined ? {} : { bindingLimit }),
  };
}

const sizes: Sizes = { rows: 7, channels: 12, vocabulary: 200 };
/** Logits of one chunk of 64 columns of all rows. */
const SMALL = { keepBytes: 0, logitBytes: 4 * 7 * 64 };

checkOp("linearCrossEntropy()", [
  lossCase("of kept logits", sizes),
  lossCase("in one chunk", sizes, { keepBytes: 0 }),
  lossCase("in chunks, the last of which is shorter", sizes, SMALL),
  lossCase("of a vocabulary that is no multiple of four", { ...sizes, vocabulary: 131 }, SMALL),
  lossCase("of a vocabulary smaller than a chunk", { ...sizes, vocabulary: 3 }, SMALL),
  lossCase("in blocks of rows and chunks", sizes, { keepBytes: 0, logitBytes: 4 * 3 * 64 }),
  { ...lossCase("of 16-bit rows", sizes, SMALL), half: ["x"] },
  lossCase("of one row", { rows: 1, channels: 5, vocabulary: 70 }, SMALL),
  // Beside a loss of hundreds, steps of finite differences are lost.
  { ...lossCase("of large logits", sizes, { ...SMALL, scale: 20 }), wrt: [] },
  lossCase("with small bindings", { rows: 40, channels: 12, vocabulary: 200 }, {
    keepBytes: 0,
    bindingLimit: 9728,
  }),
]);

gpuTest(
  "linearCrossEntropy() equals crossEntropy() of linear(), and so do its gradients",
  async (gpu) => {
    using tape = new Tape(gpu);
    const [rows, channels, vocabulary] = [33, 20, 517];
    const x = tape.input(randomNumbers(rows * channels, "x"), [3, 11, channels]);
    const weight = tape.input(randomNumbers(vocabulary * channels, "w"), [vocabulary, channels]);
    const targets = tape.input(
      Uint32Array.from({ length: rows }, (_, i) => i * 17 % vocabulary),
      [3, 11],
    );
    const fused = linearCrossEntropy(x, weight, targets, {
      keepBytes: 0,
      logitBytes: 4 * rows * 128,
    });
    const plain = crossEntropy(linear(x, { weight }), targets);
    assertClose(await fused.read(), await plain.read(), REDUCTION, "loss");
    const found = tape.grad(fused, [x, weight]);
    const expected = tape.grad(plain, [x, weight]);
    for (const input of [x, weight]) {
      assertClose(
        await found.get(input)!.read(),
        await expected.get(input)!.read(),
        REDUCTION,
        input === x ? "gradient of x" : "gradient of the weight",
      );
    }
  },
);

gpuTest("linearCrossEntropy() keeps no logits above its budget", async (gpu) => {
  const [rows, channels, vocabulary] = [64, 4, 8192];
  using weight = new Parameter(gpu, [vocabulary, channels]);
  weight.write(randomNumbers(vocabulary * channels, "w"));
  using tape = new Tape(gpu);
  const x = tape.input(randomNumbers(rows * channels, "x"), [rows, channels]);
  const targets = tape.input(new Uint32Array(rows).fill(8191), [rows]);
  const before = gpu.stats().liveBytes;
  const loss = linearCrossEntropy(x, weight, targets, { keepBytes: 2 ** 20, logitBytes: 2 ** 18 });
  const kept = gpu.stats().liveBytes - before;
  assert(kept <= 4096, `kept ${kept} bytes for 2 MiB of logits`);
  const [plain] = await crossEntropy(linear(x, { weight }), targets).read();
  assertClose(await loss.read(), [plain!], REDUCTION, "loss");
});

gpuTest("linearCrossEntropy() is NaN for a target that is no column", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(randomNumbers(8, "x"), [2, 4]);
  const weight = tape.input(randomNumbers(40, "w"), [10, 4]);
  for (const keepBytes of [0, 2 ** 20]) {
    const targets = tape.input(Uint32Array.of(3, 10), [2]);
    const [loss] = await linearCrossEntropy(x, weight, targets, { keepBytes }).read();
    assertEquals(Number.isNaN(loss), true);
  }
});

gpuTest("linearCrossEntropy() rejects what does not fit", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(8), [2, 4]);
  const weight = tape.input(new Float32Array(30), [10, 3]);
  const targets = tape.input(new Uint32Array(2), [2]);
  assertThrows(() => linearCrossEntropy(x, weight, targets), TypeError, "expected shape [2,3]");
  assertThrows(() => linearCrossEntropy(x, x, x), TypeError, "targets");
  const floats = tape.input(new Float32Array(2), [2]);
  assertThrows(() => linearCrossEntropy(x, x, floats), TypeError, "dtype u32, found f32");
});
