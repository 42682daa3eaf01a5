import { assertEquals, assertThrows } from "@std/assert";
import { assertClose, ELEMENTWISE } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { add, mul } from "./math.ts";
import { rotary, rotaryTable, splitHeads } from "./rotary.ts";
import { Tape } from "./tape.ts";

const table = { shape: [10, 4, 2], values: rotaryTable({ gridSize: 3, headDim: 8 }) };

/** Heads (batch, tokens, heads, headDim 8) turned on the host. */
function turned(x: number[], options: { tokens: number; heads: number; first: number }): number[] {
  const { tokens, heads, first } = options;
  return x.map((value, i) => {
    const position = first + Math.floor(i / 8 / heads) % tokens;
    const at = position * 8 + i % 8 - i % 2;
    const [cosine, sine] = [table.values[at]!, table.values[at + 1]!];
    return i % 2 === 0 ? value * cosine - x[i + 1]! * sine : value * cosine + x[i - 1]! * sine;
  });
}

/** Columns [offset, offset + width) of rows of 32. */
function columnsOf(x: number[], offset: number, width: number): number[] {
  return x.filter((_, i) => i % 32 >= offset && i % 32 < offset + width);
}

checkOp("rotary()", [{
  name: "of the class position and a grid",
  inputs: { x: { shape: [2, 10, 3, 8] }, table },
  run: ({ x, table }) => rotary(x!, table!),
  reference: ({ x }) => turned(x!, { tokens: 10, heads: 3, first: 0 }),
  close: ELEMENTWISE,
  wrt: ["x"],
  half: ["x"],
}, {
  name: "of one token at a later position",
  inputs: { x: { shape: [1, 1, 1, 8] }, table },
  run: ({ x, table }) => rotary(x!, table!, { firstPosition: 7 }),
  reference: ({ x }) => turned(x!, { tokens: 1, heads: 1, first: 7 }),
  close: ELEMENTWISE,
  wrt: ["x"],
}, {
  name: "in ranges",
  inputs: { x: { shape: [5, 3, 2, 8] }, table },
  run: ({ x, table }) => rotary(x!, table!),
  wrt: ["x"],
  bindingLimit: 640,
}]);

const grouped = { heads: 2, kvHeads: 1 };

checkOp("splitHeads()", [{
  name: "turns queries",
  inputs: { qkv: { shape: [2, 5, 32] }, table },
  run: ({ qkv, table }) => splitHeads(qkv!, table!, grouped).query,
  reference: ({ qkv }) => turned(columnsOf(qkv!, 0, 16), { tokens: 5, heads: 2, first: 0 }),
  close: ELEMENTWISE,
  wrt: ["qkv"],
}, {
  name: "turns keys",
  inputs: { qkv: { shape: [2, 5, 32] }, table },
  run: ({ qkv, table }) => splitHeads(qkv!, table!, grouped).key,
  reference: ({ qkv }) => turned(columnsOf(qkv!, 16, 8), { tokens: 5, heads: 1, first: 0 }),
  close: ELEMENTWISE,
  wrt: ["qkv"],
}, {
  name: "copies values",
  inputs: { qkv: { shape: [2, 5, 32] }, table },
  run: ({ qkv, table }) => splitHeads(qkv!, table!, grouped).value,
  reference: ({ qkv }) => columnsOf(qkv!, 24, 8),
  close: ELEMENTWISE,
  wrt: ["qkv"],
}, {
  name: "adds the gradients of all parts",
  inputs: { qkv: { shape: [3, 5, 48] }, table },
  run: ({ qkv, table }) => {
    const { query, key, value } = splitHeads(qkv!, table!, { heads: 2, kvHeads: 2 });
    return add(mul(query, key), value);
  },
  wrt: ["qkv"],
  bindingLimit: 1024,
  half: ["qkv"],
}]);

Deno.test("rotaryTable() turns half of the pairs by the row and half by the column", () => {
  const found = rotaryTable({ gridSize: 3, headDim: 8 });
  assertEquals([...found.subarray(0, 8)], Array(8).fill(0));
  // Row 2, column 1: frequencies 1 and 1/100.
  const at = (1 + 2 * 3 + 1) * 8;
  const angles = [2, 0.02, 1, 0.01];
  assertClose(
    found.subarray(at, at + 8),
    angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)]),
    ELEMENTWISE,
    "table",
  );
});

Deno.test("rotaryTable() rejects a head dimension without four equal parts", () => {
  assertThrows(() => rotaryTable({ gridSize: 3, headDim: 6 }), RangeError, "found 6");
});

gpuTest("rotary() rejects tables that do not fit", (gpu) => {
  using tape = new Tape(gpu);
  const values = tape.input(table.values, table.shape);
  const narrow = tape.input(new Float32Array(8), [1, 2, 4]);
  assertThrows(() => rotary(narrow, values), TypeError, "expected shape (batch");
  const heads = tape.input(new Float32Array(4), [1, 1, 1, 4]);
  assertThrows(() => rotary(heads, values), TypeError, "[positions, 2, 2]");
  const long = tape.input(new Float32Array(8 * 11), [1, 11, 1, 8]);
  assertThrows(() => rotary(long, values), RangeError, "at least 11 positions, found 10");
  const six = tape.input(new Float32Array(6), [1, 1, 1, 6]);
  const sixTable = tape.input(new Float32Array(6), [1, 3, 2]);
  assertThrows(() => rotary(six, sixTable), RangeError, "multiple of 4, found 6");
  const odd = tape.input(new Float32Array(31), [1, 1, 31]);
  assertThrows(() => splitHeads(odd, values, grouped), RangeError, "found 31");
});
