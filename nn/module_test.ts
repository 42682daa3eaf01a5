import { assert, assertEquals, assertThrows } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { Module, ModuleContext } from "./module.ts";
import type { Parameter } from "./tensor.ts";

/** A leaf with a weight and a running statistic. */
class Leaf extends Module {
  readonly weight: Parameter;

  constructor(context: ModuleContext) {
    super();
    this.weight = this.register(
      "weight",
      context.parameter([4], { kind: "normal", standardDeviation: 1 }),
    );
    const zero = { kind: "constant", value: 0 } as const;
    this.register("running_mean", context.parameter([4], zero, { trainable: false }));
  }

  /** Registers under a name that is taken. */
  registerAgain(): void {
    this.register("weight", this.weight);
  }
}

/** A matrix, a vector and a table. */
class Mixed extends Module {
  readonly table: Parameter;

  constructor(context: ModuleContext) {
    super();
    const normal = { kind: "normal", standardDeviation: 1 } as const;
    this.register("matrix", context.parameter([5, 3], normal));
    this.register("vector", context.parameter([5], normal));
    this.table = this.register("table", context.table([3], () => Float32Array.of(1, 2, 3)));
  }
}

/** Two leaves. */
class Tree extends Module {
  constructor(context: ModuleContext) {
    super();
    this.register("block.0", new Leaf(context));
    this.register("norm_out", new Leaf(context));
  }
}

gpuTest("Module.namedParameters() walks the tree in order with full paths", (gpu) => {
  using tree = new Tree(new ModuleContext(gpu, 0));
  assertEquals([...tree.namedParameters("encoder.")].map(([name]) => name), [
    "encoder.block.0.weight",
    "encoder.block.0.running_mean",
    "encoder.norm_out.weight",
    "encoder.norm_out.running_mean",
  ]);
  const named = new Map(tree.namedParameters());
  assertEquals(tree.trainableParameters(), [
    named.get("block.0.weight")!,
    named.get("norm_out.weight")!,
  ]);
});

gpuTest("Module.register() refuses a name that is taken", (gpu) => {
  using leaf = new Leaf(new ModuleContext(gpu, 0));
  assertThrows(
    () => leaf.registerAgain(),
    TypeError,
    "Cannot register weight: expected a new name, found it taken",
  );
});

gpuTest(
  "ModuleContext draws other numbers for each parameter, the same for a seed",
  async (gpu) => {
    const weights = async (seed: number): Promise<Float32Array[]> => {
      using tree = new Tree(new ModuleContext(gpu, seed));
      return await Promise.all(tree.trainableParameters().map((parameter) => parameter.read()));
    };
    const [first, second] = await weights(1);
    assert(first!.some((value, i) => value !== second![i]));
    assertEquals(await weights(1), [first!, second!]);
    const [other] = await weights(2);
    assert(first!.some((value, i) => value !== other![i]));
  },
);

gpuTest("ModuleContext.parameter() fills as the initializer says", async (gpu) => {
  const context = new ModuleContext(gpu, 3);
  using constant = context.parameter([5], { kind: "constant", value: 2.5 });
  assertEquals([...await constant.read()], Array(5).fill(2.5));
  using uniform = context.parameter([4000], { kind: "uniform", low: -1, high: 3 });
  const values = await uniform.read();
  assert(values.every((value) => value >= -1 && value < 3));
  const average = values.reduce((total, value) => total + value, 0) / values.length;
  assert(Math.abs(average - 1) < 0.1, `${average}`);
  using normal = context.parameter([4000], { kind: "normal", mean: 5, standardDeviation: 2 });
  const drawn = await normal.read();
  const mean = drawn.reduce((total, value) => total + value, 0) / drawn.length;
  const variance = drawn.reduce((total, value) => total + (value - mean) ** 2, 0) / drawn.length;
  assert(Math.abs(mean - 5) < 0.15, `${mean}`);
  assert(Math.abs(Math.sqrt(variance) - 2) < 0.1, `${variance}`);
});

Deno.test("ModuleContext.outline() makes parameters with names, shapes and types, and no elements", () => {
  using model = new Mixed(ModuleContext.outline({ matrices: "f16" }));
  const found = [...model.namedParameters()].map((
    [name, { shape, dtype, trainable, isOutline }],
  ) => [
    name,
    shape,
    dtype,
    trainable,
    isOutline,
  ]);
  assertEquals(found, [
    ["matrix", [5, 3], "f16", true, true],
    ["vector", [5], "f32", true, true],
    ["table", [3], "f32", false, true],
  ]);
  model.convertMatrices("f32");
  const [matrix] = model.trainableParameters();
  assertEquals(matrix!.dtype, "f32");
  for (const use of [() => matrix!.storage, () => matrix!.gpu]) {
    assertThrows(
      use,
      TypeError,
      "Cannot use a parameter of shape [5,3]: expected one with elements, found an outline",
    );
  }
});

gpuTest("ModuleContext stores matrices in the wanted type, and tables in f32", async (gpu) => {
  using halves = new Mixed(new ModuleContext(gpu, 7, { matrices: "f16" }));
  using floats = new Mixed(new ModuleContext(gpu, 7));
  const [matrix, vector] = halves.trainableParameters();
  const [expectedMatrix, expectedVector] = floats.trainableParameters();
  assertEquals([matrix!.dtype, vector!.dtype, halves.table.dtype], ["f16", "f32", "f32"]);
  assertEquals(matrix!.storage.bytes, 2 * 15);
  const rounded = Float32Array.from(Float16Array.from(await expectedMatrix!.read()));
  assertEquals(await matrix!.read(), rounded);
  assertEquals(await vector!.read(), await expectedVector!.read());
});

gpuTest(
  "ModuleContext without initial values makes room for them, and fills tables",
  async (gpu) => {
    const before = gpu.stats().liveBytes;
    using model = new Mixed(new ModuleContext(gpu, 7, { initialize: false, matrices: "f16" }));
    assert(gpu.stats().liveBytes > before);
    assertEquals(await model.table.read(), Float32Array.of(1, 2, 3));
    const [matrix] = model.trainableParameters();
    matrix!.write(Float32Array.from({ length: 15 }, (_, i) => i / 4));
    assertEquals(await matrix!.read(), Float32Array.from({ length: 15 }, (_, i) => i / 4));
  },
);
