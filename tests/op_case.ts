/** One table of cases per op drives its value test, finite-difference test, ranged-binding test and leak test. @module */

import { assertEquals } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { Tape } from "../nn/tape.ts";
import { sizeOf, type Tensor } from "../nn/tensor.ts";
import { assertClose, GRADIENT, HALF, type Tolerance } from "./close.ts";

const adapter = await navigator.gpu?.requestAdapter() ?? null;
let shared: Promise<Gpu> | undefined;

/** The device that all tests of a file share. */
export function testGpu(): Promise<Gpu> {
  return shared ??= Gpu.open();
}

/** The body of a test on the GPU. */
export type GpuTestBody = (gpu: Gpu) => Promise<void> | void;

/** A test on the GPU. */
export interface GpuTest {
  /** Name of the test. */
  readonly name: string;
  /** Gets the device; gives back every byte it takes. */
  readonly body: GpuTestBody;
}

const registered: GpuTest[] = [];

/**
 * A test that needs an adapter, and that must give back every byte it takes.
 *
 * @param name Name of the test.
 * @param body Gets the shared device.
 */
export function gpuTest(name: string, body: GpuTestBody): void {
  registered.push({ name, body });
  Deno.test({
    name,
    ignore: adapter === null,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => await runGpuTest(await testGpu(), body),
  });
}

/**
 * Hands out the tests that files have registered since the last call. Outside of `deno test`, where Deno runs none, the doctor does.
 *
 * @returns The tests, in order.
 */
export function takeGpuTests(): GpuTest[] {
  return registered.splice(0);
}

/**
 * Runs a test and counts what it leaves behind.
 *
 * @param gpu The device.
 * @param body The test.
 * @throws {AssertionError} If a buffer is still live that was not before.
 */
export async function runGpuTest(gpu: Gpu, body: GpuTestBody): Promise<void> {
  const before = gpu.stats().liveBytes;
  await body(gpu);
  await gpu.settle();
  assertEquals(gpu.stats().liveBytes, before, "bytes that the test did not give back");
}

/**
 * Reproducible numbers that look normal with standard deviation 1: sums of hashed uniforms.
 *
 * @param count How many.
 * @param seed Any text.
 * @returns The numbers.
 */
export function randomNumbers(count: number, seed: string): Float32Array {
  let state = 2166136261;
  for (const character of seed) state = Math.imul(state ^ character.charCodeAt(0), 16777619);
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from(
    { length: count },
    () => (next() + next() + next() + next() - 2) * Math.sqrt(3),
  );
}

/** An input of an {@linkcode OpCase}. */
export interface CaseInput {
  /** Extents. */
  shape: readonly number[];
  /** Values; default: random numbers times `scale` plus `offset`. */
  values?: ArrayLike<number>;
  /** Standard deviation of random values, default 1. */
  scale?: number;
  /** Mean of random values, default 0. */
  offset?: number;
  /** `u32` inputs are indices or labels and are not differentiated. */
  dtype?: "f32" | "u32";
}

/** One op at one size. */
export interface OpCase {
  /** Shown in the test's name. */
  name: string;
  /** Inputs by name. */
  inputs: Readonly<Record<string, CaseInput>>;
  /** The op. */
  run: (inputs: Record<string, Tensor>) => Tensor;
  /** Expected values computed on the host in double precision; inputs arrive as plain arrays. */
  reference?: (inputs: Record<string, number[]>) => ArrayLike<number>;
  /** Tolerance of the values against `reference`. */
  close?: Tolerance;
  /** Inputs to differentiate; default: every f32 input. `[]` for ops without gradient. */
  wrt?: readonly string[];
  /** Why finite differences cannot see this gradient, where that is so. */
  gradcheck?: "straight-through";
  /** Step of the finite differences, default 1e-2. */
  epsilon?: number;
  /** Also run with these inputs in f16: values and gradients must equal those of f32 inputs with the same, rounded, numbers. */
  half?: readonly string[];
  /** Also run on a device that binds at most this many bytes, and reads textures where it can; values and gradients must be equal. */
  bindingLimit?: number;
}

/** How {@linkcode makeInputs} changes the values of a case. */
interface InputOptions {
  /** Added to inputs, by name. */
  shifts?: Record<string, Float32Array>;
  /** Names of inputs that are rounded to f16. */
  rounded?: readonly string[];
  /** Whether these are also stored as f16. */
  stored?: boolean;
}

function floats(
  name: string,
  values: Float32Array,
  { shifts = {}, rounded = [], stored = false }: InputOptions,
): Float32Array | Float16Array {
  const shift = shifts[name];
  if (shift) return values.map((value, i) => value + shift[i]!);
  if (!rounded.includes(name)) return values;
  const halves = Float16Array.from(values);
  return stored ? halves : Float32Array.from(halves);
}

function makeInputs(
  tape: Tape,
  testCase: OpCase,
  options: InputOptions = {},
): Record<string, Tensor> {
  const inputs: Record<string, Tensor> = {};
  for (const [name, spec] of Object.entries(testCase.inputs)) {
    const values = valuesOf(testCase, name);
    inputs[name] = tape.input(
      spec.dtype === "u32" ? Uint32Array.from(values) : floats(name, values, options),
      spec.shape,
    );
  }
  return inputs;
}

function valuesOf(testCase: OpCase, name: string): Float32Array {
  const { shape, values, scale = 1, offset = 0 } = testCase.inputs[name]!;
  if (values) return Float32Array.from(values);
  return randomNumbers(sizeOf(shape), `${testCase.name} ${name}`).map((value) =>
    offset + scale * value
  );
}

async function valueAndGradients(
  gpu: Gpu,
  testCase: OpCase,
  wrt: readonly string[],
  options: InputOptions = {},
): Promise<{ y: Float32Array; upstream: Float32Array; gradients: Record<string, Float32Array> }> {
  using tape = new Tape(gpu);
  const inputs = makeInputs(tape, testCase, options);
  const y = testCase.run(inputs);
  let upstream = randomNumbers(y.size, `${testCase.name} upstream`);
  if (options.rounded) upstream = Float32Array.from(Float16Array.from(upstream));
  const gradients: Record<string, Float32Array> = {};
  if (wrt.length > 0) {
    const gradient = tape.input(
      y.dtype === "f16" ? Float16Array.from(upstream) : upstream,
      y.shape,
    );
    const found = tape.grad(y, wrt.map((name) => inputs[name]!), { gradient });
    for (const name of wrt) gradients[name] = await found.get(inputs[name]!)!.read();
  }
  return { y: await y.read(), upstream, gradients };
}

async function weightedSum(
  gpu: Gpu,
  testCase: OpCase,
  upstream: Float32Array,
  shifts: Record<string, Float32Array>,
): Promise<number> {
  using tape = new Tape(gpu, { record: false });
  const y = await testCase.run(makeInputs(tape, testCase, { shifts })).read();
  return y.reduce((sum, value, i) => sum + value * upstream[i]!, 0);
}

/** A random direction that also leans to the gradient, so that the derivative along it is not small by cancellation. */
function direction(gradient: Float32Array, seed: string): Float32Array {
  const random = randomNumbers(gradient.length, seed);
  const length = (values: Float32Array): number =>
    Math.hypot(1e-30, Math.sqrt(values.reduce((s, v) => s + v * v, 0)));
  const a = length(random);
  const b = length(gradient);
  const size = Math.sqrt(gradient.length);
  return random.map((value, i) => (value / a + gradient[i]! / b) * size / 2);
}

async function checkGradients(gpu: Gpu, testCase: OpCase, wrt: readonly string[]): Promise<void> {
  const { upstream, gradients } = await valueAndGradients(gpu, testCase, wrt);
  const epsilon = testCase.epsilon ?? 1e-2;
  for (const name of wrt) {
    for (let trial = 0; trial < 3; trial++) {
      const v = direction(gradients[name]!, `${testCase.name} ${name} ${trial}`);
      const up = await weightedSum(gpu, testCase, upstream, {
        [name]: v.map((value) => epsilon * value),
      });
      const down = await weightedSum(gpu, testCase, upstream, {
        [name]: v.map((value) => -epsilon * value),
      });
      const analytic = gradients[name]!.reduce((sum, value, i) => sum + value * v[i]!, 0);
      assertClose(
        [analytic],
        [(up - down) / (2 * epsilon)],
        GRADIENT,
        `derivative by ${name}, direction ${trial}`,
      );
    }
  }
}

/**
 * Registers the tests of a table of cases.
 *
 * @param op Name of the op, first in each test's name.
 * @param cases The table.
 */
export function checkOp(op: string, cases: readonly OpCase[]): void {
  for (const testCase of cases) {
    const wrt = testCase.wrt ??
      Object.keys(testCase.inputs).filter((name) => testCase.inputs[name]!.dtype !== "u32");
    const { reference, close, bindingLimit } = testCase;
    if (reference) {
      gpuTest(`${op} ${testCase.name}: values equal the reference`, async (gpu) => {
        const { y } = await valueAndGradients(gpu, testCase, []);
        const inputs = Object.fromEntries(
          Object.keys(testCase.inputs).map((name) => [name, [...valuesOf(testCase, name)]]),
        );
        if (!close) {
          throw new TypeError(`Cannot compare ${testCase.name}: expected a tolerance, found none`);
        }
        assertClose(y, reference(inputs), close, testCase.name);
      });
    }
    if (wrt.length > 0 && testCase.gradcheck !== "straight-through") {
      gpuTest(
        `${op} ${testCase.name}: gradients equal finite differences`,
        (gpu) => checkGradients(gpu, testCase, wrt),
      );
    }
    if (testCase.half) registerHalf(op, testCase, wrt);
    if (bindingLimit !== undefined) {
      gpuTest(
        `${op} ${testCase.name}: bindings of at most ${bindingLimit} bytes, and textures, give the same`,
        async (gpu) => {
          using limited = await Gpu.open({ maxBindingBytes: bindingLimit, leastTexelBytes: 0 });
          const whole = await valueAndGradients(gpu, testCase, wrt);
          const ranged = await valueAndGradients(limited, testCase, wrt);
          assertClose(ranged.y, whole.y, RANGED, "values");
          for (const name of wrt) {
            assertClose(
              ranged.gradients[name]!,
              whole.gradients[name]!,
              RANGED,
              `gradient of ${name}`,
            );
          }
        },
      );
    }
  }
}

function registerHalf(op: string, testCase: OpCase, wrt: readonly string[]): void {
  gpuTest(`${op} ${testCase.name}: f16 inputs give about the same`, async (gpu) => {
    if (!gpu.features.has("shader-f16")) return;
    const rounded = testCase.half!;
    const full = await valueAndGradients(gpu, testCase, wrt, { rounded });
    const half = await valueAndGradients(gpu, testCase, wrt, { rounded, stored: true });
    assertClose(half.y, full.y, HALF, "values");
    for (const name of wrt) {
      assertClose(half.gradients[name]!, full.gradients[name]!, HALF, `gradient of ${name}`);
    }
  });
}

/** Ranges add partial sums in another order; nothing else may differ. */
const RANGED: Tolerance = { relative: 1e-5, absolute: 1e-6 };
