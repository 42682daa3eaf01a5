import { assertThrows } from "@std/assert";
import { ELEMENTWISE } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { standardize } from "./standardize.ts";
import { Tape } from "./tape.ts";

checkOp("standardize()", [{
  name: "of 3 channels, in ranges",
  inputs: {
    x: { shape: [2, 5, 7, 3] },
    shift: { shape: [1, 1, 1, 3] },
    scale: { shape: [1, 1, 1, 3], offset: 1, scale: 0.2 },
  },
  run: ({ x, shift, scale }) => standardize(x!, { shift: shift!, scale: scale! }),
  reference: ({ x, shift, scale }) =>
    x!.map((value, i) => (value - shift![i % 3]!) / scale![i % 3]!),
  close: ELEMENTWISE,
  wrt: ["x"],
  bindingLimit: 512,
  half: ["x"],
}]);

gpuTest("standardize() rejects constants of another number of channels", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(6), [2, 3]);
  const two = tape.input(new Float32Array(2), [2]);
  assertThrows(
    () => standardize(x, { shift: two, scale: two }),
    TypeError,
    "expected one shift for each of 3 channels, found shape [2]",
  );
});
