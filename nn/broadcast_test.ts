import { assertThrows } from "@std/assert";
import { ELEMENTWISE } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { addGated, addVector, modulate, mulVector } from "./broadcast.ts";
import { Tape } from "./tape.ts";

const [batch, tokens, channels] = [3, 37, 5];
const x = { shape: [batch, tokens, channels] };
const vector = { shape: [channels] };
const perSample = { shape: [batch, 1, channels] };
/** Sizes that are handled four channels at a time. */
const wide = { shape: [2, 7, 12] };
const wideSample = { shape: [2, 12] };

/** Index in a (batch, channels) vector of element i of x. */
function sampleIndex(i: number): number {
  return Math.floor(i / (tokens * channels)) * channels + i % channels;
}

checkOp("addVector()", [{
  name: "by channel",
  inputs: { x, v: vector },
  run: ({ x, v }) => addVector(x!, v!),
  reference: ({ x, v }) => x!.map((value, i) => value + v![i % channels]!),
  close: ELEMENTWISE,
  bindingLimit: 1280,
}, {
  name: "by channel and sample",
  inputs: { x, v: perSample },
  run: ({ x, v }) => addVector(x!, v!),
  reference: ({ x, v }) => x!.map((value, i) => value + v![sampleIndex(i)]!),
  close: ELEMENTWISE,
  bindingLimit: 1280,
}, {
  name: "of one element",
  inputs: { x, v: { shape: [] } },
  run: ({ x, v }) => addVector(x!, v!),
  reference: ({ x, v }) => x!.map((value) => value + v![0]!),
  close: ELEMENTWISE,
}]);

checkOp("addVector()", [{
  name: "by channel and sample, four channels at a time",
  inputs: { x: wide, v: wideSample },
  run: ({ x, v }) => addVector(x!, v!),
  reference: ({ x, v }) => x!.map((value, i) => value + v![Math.floor(i / 84) * 12 + i % 12]!),
  close: ELEMENTWISE,
  bindingLimit: 256,
  half: ["x", "v"],
}]);

checkOp("mulVector()", [{
  name: "by channel",
  inputs: { x, v: vector },
  run: ({ x, v }) => mulVector(x!, v!),
  reference: ({ x, v }) => x!.map((value, i) => value * v![i % channels]!),
  close: ELEMENTWISE,
}, {
  name: "by channel and sample",
  inputs: { x, v: perSample },
  run: ({ x, v }) => mulVector(x!, v!),
  reference: ({ x, v }) => x!.map((value, i) => value * v![sampleIndex(i)]!),
  close: ELEMENTWISE,
  bindingLimit: 1280,
}]);

checkOp("modulate()", [{
  name: "four channels at a time, in f16",
  inputs: { x: wide, scale: wideSample, shift: wideSample },
  run: ({ x, scale, shift }) => modulate(x!, { scale: scale!, shift: shift! }),
  half: ["x", "scale", "shift"],
  bindingLimit: 256,
}, {
  name: "by channel and sample",
  inputs: { x, scale: perSample, shift: perSample },
  run: ({ x, scale, shift }) => modulate(x!, { scale: scale!, shift: shift! }),
  reference: ({ x, scale, shift }) =>
    x!.map((value, i) => value * (1 + scale![sampleIndex(i)]!) + shift![sampleIndex(i)]!),
  close: ELEMENTWISE,
  bindingLimit: 1280,
}]);

checkOp("addGated()", [{
  name: "four channels at a time, in f16",
  inputs: { base: wide, x: wide, gamma: wideSample },
  run: ({ base, x, gamma }) => addGated(base!, x!, gamma!),
  half: ["base", "x", "gamma"],
  bindingLimit: 256,
}, {
  name: "by channel and sample",
  inputs: { base: x, x, gamma: perSample },
  run: ({ base, x, gamma }) => addGated(base!, x!, gamma!),
  reference: ({ base, x, gamma }) =>
    x!.map((value, i) => base![i]! + gamma![sampleIndex(i)]! * value),
  close: ELEMENTWISE,
  bindingLimit: 1280,
}]);

gpuTest("addVector() rejects a vector of another shape", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(12), [2, 2, 3]);
  for (const shape of [[2], [3, 3], [2, 2, 3], [1, 2]]) {
    const vector = tape.input(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);
    assertThrows(() => addVector(x, vector), TypeError, "expected shape [], [3] or [2,3]");
  }
});
