import { assertThrows } from "@std/assert";
import { assertClose, ELEMENTWISE } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase, randomNumbers } from "../tests/op_case.ts";
import { silu } from "./activation.ts";
import { mul } from "./math.ts";
import { swiglu } from "./swiglu.ts";
import { Tape } from "./tape.ts";

function swigluCase(name: string, shape: number[], extra: Partial<OpCase> = {}): OpCase {
  return {
    name,
    inputs: { gate: { shape, scale: 2 }, x: { shape } },
    run: ({ gate, x }) => swiglu(gate!, x!),
    reference: ({ gate, x }) =>
      x!.map((value, i) => value * gate![i]! / (1 + Math.exp(-gate![i]!))),
    close: ELEMENTWISE,
    half: ["gate", "x"],
    bindingLimit: 512,
    ...extra,
  };
}

checkOp("swiglu()", [
  swigluCase("four at a time", [3, 5, 44]),
  swigluCase("of a size that is no multiple of four", [7, 131]),
  swigluCase("of one element", [1]),
  {
    ...swigluCase("of large gates", [4]),
    // Steps of finite differences are lost beside them.
    wrt: [],
    inputs: {
      gate: { shape: [4], values: [-200, 200, 0, 60] },
      x: { shape: [4], values: [3, 2, 1, -1] },
    },
  },
]);

gpuTest("swiglu() equals the product of a silu, and so do its gradients", async (gpu) => {
  using tape = new Tape(gpu);
  const shape = [5, 37];
  const input = (name: string) => tape.input(randomNumbers(5 * 37, name), shape);
  const [gate, x, gradient] = [input("gate"), input("x"), input("gradient")];
  const fused = swiglu(gate, x);
  const plain = mul(silu(gate), x);
  assertClose(await fused.read(), await plain.read(), ELEMENTWISE, "values");
  const found = tape.grad(fused, [gate, x], { gradient });
  const expected = tape.grad(plain, [gate, x], { gradient });
  for (const [name, of] of [["gate", gate], ["x", x]] as const) {
    assertClose(
      await found.get(of)!.read(),
      await expected.get(of)!.read(),
      ELEMENTWISE,
      `gradient of ${name}`,
    );
  }
});

gpuTest("swiglu() rejects operands of different shapes", (gpu) => {
  using tape = new Tape(gpu);
  const gate = tape.input(new Float32Array(6), [2, 3]);
  assertThrows(() => swiglu(gate, tape.view(gate, [6])), TypeError, "expected shape [2,3]");
});
