import { assert, assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import {
  bandLogits,
  logitBytes,
  logitPlan,
  quantizerProducts,
  rowGroups,
  rowShares,
  sharesOf,
} from "./quantizer_plan.ts";

gpuTest("logitPlan() keeps and computes no more logits at a time than the budget allows", (gpu) => {
  const size = { rows: 1000, codes: 4096, dimensions: 16 };
  const byteBudget = 300 * 4 * 4096;
  const plan = logitPlan(gpu, size, byteBudget);
  const { blocks, kept } = plan;
  assertEquals(blocks.reduce((sum, { count }) => sum + count, 0), size.rows);
  for (const [at, { start, count }] of blocks.entries()) {
    assertEquals(start, at * blocks[0]!.count);
    assertEquals(start * 4 % gpu.offsetAlignment, 0);
    assert(logitBytes(plan, count) <= byteBudget, `${count} tokens`);
  }
  assertEquals([blocks.length, kept], [4, 2]);
});

gpuTest("logitPlan() keeps everything that is small", (gpu) => {
  const plan = logitPlan(gpu, { rows: 5, codes: 7, dimensions: 3 }, 1000);
  assertEquals(plan, {
    threads: gpu.threads,
    rowLanes: gpu.adapter.software ? 1 : gpu.threads,
    bands: [{ start: 0, count: 7 }],
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
    for (const rowLanes of [1, 8]) {
      const plan = { bands: [{ start: 0, count: 4 * quads }], threads: 8, rowLanes };
      const { count, span, parts } = rowShares(gpu, rows, plan);
      assert(count * span >= quads && (count - 1) * span < quads);
      assert(span / (4 * rowLanes) <= 256);
      assertEquals([parts, rowGroups(plan, rows)], [
        count * rowLanes,
        Math.ceil(rows * rowLanes / 8),
      ]);
    }
  }
  assertEquals(sharesOf(gpu, { count: 10, step: 20, groups: 1 }), { count: 1, span: 20 });
});

gpuTest(
  "logitPlan() divides codes into equal bands at aligned offsets, without much room unused",
  (gpu) => {
    for (const codes of [1, 64, 1001, 1025, 4096, 5000]) {
      const size = { rows: 3, codes, dimensions: 3 };
      const plan = logitPlan(gpu, size, 2 ** 20, { bandCodes: 1000 });
      const { bands, stride } = plan;
      assertEquals(bands.length, Math.ceil(codes / 1000));
      assertEquals(bands.reduce((sum, { count }) => sum + count, 0), codes);
      const logits = gpu.acquire(logitBytes(plan, 3));
      for (const [at, { start, count }] of bands.entries()) {
        assertEquals(start, at * bands[0]!.count);
        assert(count > 0 && count <= bands[0]!.count && bands[0]!.count <= 4 * stride);
        const { offsetBytes, bytes } = bandLogits(plan, { rows: 3, logits }, at);
        assertEquals([offsetBytes, bytes], [at * 3 * 16 * stride, 3 * 16 * stride]);
        for (const offset of [offsetBytes, 4 * start]) {
          assertEquals(
            offset % gpu.offsetAlignment,
            0,
          );
        }
      }
      gpu.release(logits);
      assert(4 * stride * bands.length < 1.1 * codes + 512, `${stride} times ${bands.length}`);
    }
  },
);
