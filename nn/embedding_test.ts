import { assertEquals, assertThrows } from "@std/assert";
import { EXACT } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { Embedding, embedding } from "./embedding.ts";
import { ModuleContext } from "./module.ts";
import { Tape } from "./tape.ts";

const ids = Array.from({ length: 130 }, (_, i) => i * i % 67);

checkOp("embedding()", [{
  name: "of repeated indices",
  inputs: { ids: { shape: [2, 65], values: ids, dtype: "u32" }, table: { shape: [71, 5] } },
  run: ({ ids, table }) => embedding(ids!, table!),
  reference: ({ ids, table }) => ids!.flatMap((id) => table!.slice(5 * id, 5 * id + 5)),
  close: EXACT,
  half: ["table"],
}, {
  name: "with ranges of indices and of the table",
  inputs: { ids: { shape: [130], values: ids, dtype: "u32" }, table: { shape: [71, 7] } },
  run: ({ ids, table }) => embedding(ids!, table!),
  bindingLimit: 1792,
}, {
  name: "of one vector of one number",
  inputs: { ids: { shape: [1], values: [0], dtype: "u32" }, table: { shape: [1, 1] } },
  run: ({ ids, table }) => embedding(ids!, table!),
  reference: ({ table }) => table!,
  close: EXACT,
}]);

gpuTest(
  "embedding() adds the gradients of repeated rows and leaves 0 in unused ones",
  async (gpu) => {
    using tape = new Tape(gpu);
    const table = tape.input(new Float32Array(8), [4, 2]);
    const indices = tape.input(new Uint32Array([3, 1, 3, 3]), [4]);
    const gradient = tape.input(new Float32Array([1, 2, 10, 20, 100, 200, 1000, 2000]), [4, 2]);
    const found = tape.grad(embedding(indices, table), [table], { gradient }).get(table)!;
    assertEquals([...await found.read()], [0, 0, 10, 20, 0, 0, 1101, 2202]);
  },
);

gpuTest("embedding() of an index that is no row is NaN", async (gpu) => {
  using tape = new Tape(gpu);
  const table = tape.input(new Float32Array([1, 2]), [2, 1]);
  const y = embedding(tape.input(new Uint32Array([1, 2]), [2]), table);
  assertEquals([...await y.read()], [2, NaN]);
});

gpuTest("embedding() rejects float indices and a table that is no matrix", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(2), [2]);
  assertThrows(() => embedding(x, tape.view(x, [2, 1])), TypeError, "dtype u32");
  assertThrows(
    () => embedding(tape.input(new Uint32Array(2), [2]), x),
    TypeError,
    "shape (rows, width)",
  );
});

gpuTest("Embedding names its table weight", (gpu) => {
  using module = new Embedding(new ModuleContext(gpu, 1), { rows: 3, width: 2 });
  assertEquals([...module.namedParameters("tok_emb.")].map(([name]) => name), ["tok_emb.weight"]);
});
