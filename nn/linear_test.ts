import { assertEquals, assertThrows } from "@std/assert";
import { REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase } from "../tests/op_case.ts";
import { Linear, linear } from "./linear.ts";
import { ModuleContext } from "./module.ts";
import { Tape } from "./tape.ts";

function linearCase(
  name: string,
  shape: readonly number[],
  outputs: number,
  extra: Partial<OpCase> = {},
): OpCase {
  const inputs = shape.at(-1)!;
  return {
    name,
    inputs: {
      x: { shape, scale: 1 / 4 },
      weight: { shape: [outputs, inputs], scale: 1 / Math.sqrt(inputs) },
      bias: { shape: [outputs] },
    },
    run: ({ x, weight, bias }) => linear(x!, { weight: weight!, bias }),
    reference: ({ x, weight, bias }) =>
      Array.from({ length: x!.length / inputs * outputs }, (_, at) => {
        const row = Math.floor(at / outputs);
        const column = at % outputs;
        let sum = bias![column]!;
        for (let k = 0; k < inputs; k++) {
          sum += x![row * inputs + k]! * weight![column * inputs + k]!;
        }
        return sum;
      }),
    close: REDUCTION,
    ...extra,
  };
}

/** The same case with a residual. */
function withResidual(testCase: OpCase, outputs: number): OpCase {
  const shape = [...testCase.inputs.x!.shape.slice(0, -1), outputs];
  return {
    ...testCase,
    inputs: { ...testCase.inputs, residual: { shape } },
    run: ({ x, weight, bias, residual }) => linear(x!, { weight: weight!, bias }, { residual }),
    reference: (inputs) =>
      Array.from(testCase.reference!(inputs), (value, i) => value + inputs.residual![i]!),
  };
}

checkOp("linear()", [
  linearCase("of one row", [20], 13),
  linearCase("over three axes", [2, 9, 20], 13),
  linearCase("of vectors of four", [3, 30, 32], 24),
  linearCase("to one output", [37, 12], 1),
  linearCase("of many rows", [1100, 8], 12),
  linearCase("in ranges", [70, 68], 132, { bindingLimit: 8192 }),
  withResidual(linearCase("and a residual", [5, 7, 20], 13), 13),
  withResidual(linearCase("and a residual in ranges", [70, 68], 132, { bindingLimit: 8192 }), 132),
  withResidual(
    linearCase("and a residual of half precision", [9, 16], 24, { half: ["x", "residual"] }),
    24,
  ),
  linearCase("of half precision", [35, 20], 13, { half: ["x"] }),
  linearCase("of weights of half precision", [35, 32], 24, { half: ["x", "weight"] }),
  {
    name: "without bias",
    inputs: { x: { shape: [9, 20] }, weight: { shape: [13, 20] } },
    run: ({ x, weight }) => linear(x!, { weight: weight! }),
  },
]);

gpuTest("linear() rejects a weight of other inputs", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(6), [2, 3]);
  assertThrows(
    () => linear(x, { weight: tape.input(new Float32Array(8), [2, 4]) }),
    TypeError,
    "Cannot use linear() weight: expected shape [2,3], found [2,4]",
  );
});

gpuTest(
  "Linear draws weight and bias within 1/√inputs and names them as the reference",
  async (gpu) => {
    using layer = new Linear(new ModuleContext(gpu, 1), { inputs: 16, outputs: 64 });
    assertEquals([...layer.namedParameters()].map(([name]) => name), ["weight", "bias"]);
    for (const [, parameter] of layer.namedParameters()) {
      const values = await parameter.read();
      assertEquals(values.every((value) => Math.abs(value) <= 0.25), true);
      assertEquals(values.some((value) => Math.abs(value) > 0.2), true);
    }
  },
);
