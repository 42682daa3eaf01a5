import { assert, assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { logitPlan, quantizerProducts, rowShares, sharesOf } from "./quantizer_plan.ts";

gpuTest("logitPlan() keeps and computes no more logits at a time than the budget allows", (gpu) => {
  const size = { rows: 1000, codes: 4096, dimensions: 16 };
  const byteBudget = 300 * 4 * 4096;
  const { blocks, stride, kept } = logitPlan(gpu, size, byteBudget);
  assertEquals(blocks.reduce((sum, { count }) => sum + count, 0), size.rows);
  for (const [at, { start, count }] of blocks.entries()) {
    assertEquals(start, at * blocks[0]!.count);
    assertEquals(start * 4 % gpu.offsetAlignment, 0);
    assert(16 * stride * count <= byteBudget, `${count} tokens`);
  }
  assertEquals([blocks.length, kept], [4, 2]);
});

gpuTest("logitPlan() keeps everything that is small", (gpu) => {
  const plan = logitPlan(gpu, { rows: 5, codes: 7, dimensions: 3 }, 1000);
  assertEquals(plan, {
    threads: gpu.threads,
    quads: 2,
    stride: 2,
    blocks: [{ start: 0, count: 5 }],
    kept: 1,
  });
  assertEquals(quantizerProducts(plan), { forward: 1, backward: 3 });
});

gpuTest("logitPlan() takes a few tokens at a time where the budget is less than that", (gpu) => {
  const plan = logitPlan(gpu, { rows: 200, codes: 1024, dimensions: 4 }, 1);
  assert(plan.blocks.length > 1);
  assertEquals(plan.kept, 0);
  assertEquals(quantizerProducts(plan), { forward: 1, backward: 4 });
});

gpuTest("shares cover what is divided, and no lane adds up long chains", (gpu) => {
  for (const [rows, quads] of [[1, 65536], [300, 65536], [4096, 128], [3, 1]] as const) {
    const { count, span } = rowShares(gpu, rows, { quads, threads: 8 });
    assert(count * span >= quads && (count - 1) * span < quads);
    assert(span / (4 * 8) <= 256);
  }
  assertEquals(sharesOf(gpu, { count: 10, step: 20, groups: 1 }), { count: 1, span: 20 });
});
