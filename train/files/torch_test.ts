/** Tests of PyTorch checkpoints: round trips, views, shards, damaged and hostile files. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type CheckpointKind,
  goodSafetensors,
  hostileFiles,
} from "../../tests/hostile_checkpoints.ts";
import { readHostile } from "../../tests/hostile_reading.ts";
import { withFolder } from "../../tests/images.ts";
import { UserError } from "../errors.ts";
import { toFloat32 } from "./elements.ts";
import { openTensors, tensorFiles } from "./open_tensors.ts";
import { writeSafetensors } from "./safetensors.ts";
import { readView } from "./strided.ts";
import { writeTorch } from "./torch_writer.ts";

const permitted = async (name: "read" | "write"): Promise<boolean> =>
  (await Deno.permissions.query({ name })).state === "granted";
const mayRead = await permitted("read");
const mayWrite = mayRead && await permitted("write");

Deno.test({
  name: "writeTorch() and openTensors() agree for every type, and keep order, numbers and texts",
  ignore: !mayWrite,
  fn: () =>
    withFolder({}, async (folder) => {
      const path = `${folder}/a.ckpt`;
      const tensors = [
        { name: "z", dtype: "F32", shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, NaN) },
        { name: "a.half", dtype: "F16", shape: [2], data: Float16Array.of(1, 65504) },
        { name: "brain", dtype: "BF16", shape: [1, 2], data: Uint16Array.of(0x3f80, 0xc000) },
        { name: "double", dtype: "F64", shape: [], data: Float64Array.of(1 / 3) },
        { name: "long", dtype: "I64", shape: [1], data: BigInt64Array.of(-7n) },
        { name: "flag", dtype: "BOOL", shape: [2], data: Uint8Array.of(1, 0) },
        { name: "none", dtype: "F32", shape: [0, 3], data: new Float32Array() },
      ] as const;
      const metadata = { config: "ü: 1\n" };
      const bytes = await writeTorch(path, tensors, {
        entries: new Map([["epoch", 3], ["global_step", 2 ** 40]]),
        metadata,
      });
      assertEquals(bytes, (await Deno.stat(path)).size);
      using file = await openTensors(path);
      assertEquals([...file.entries.values()], tensors.map(({ data: _, ...layout }) => layout));
      assertEquals(Object.fromEntries(file.metadata), metadata);
      for (const { name, data } of tensors) {
        assertEquals(await file.bytes(name), new Uint8Array(data.buffer), name);
      }
      await assertRejects(
        () => writeTorch(path, [{ name: "u", dtype: "U32", shape: [], data: new Uint32Array(1) }]),
        TypeError,
        "expected a type of PyTorch, found U32",
      );
    }),
});

Deno.test("readView() gives views in order, also those far larger than a slab", async () => {
  const elements = 3_000_000;
  const storage = Uint32Array.from({ length: elements }, (_, i) => i);
  let largest = 0;
  const read = (start: number, length: number): Promise<Uint8Array<ArrayBuffer>> => {
    largest = Math.max(largest, length);
    return Promise.resolve(new Uint8Array(storage.buffer.slice(start, start + length)));
  };
  const view = async (shape: number[], strides: number[], offset: number): Promise<Uint32Array> =>
    new Uint32Array((await readView({ shape, strides, offset }, 4, read)).buffer);
  assertEquals(await view([2, 3], [1, 2], 1), Uint32Array.of(1, 3, 5, 2, 4, 6));
  assertEquals(await view([2, 2], [0, 1], 5), Uint32Array.of(5, 6, 5, 6));
  assertEquals(await view([], [], 9), Uint32Array.of(9));
  assertEquals(await view([3, 0], [1, 1], 0), new Uint32Array());
  // 12 MB of storage, transposed and at every second element: the slabs are smaller.
  const rows = 1000;
  const columns = 1500;
  const transposed = await view([columns, rows], [2, 2 * columns], 0);
  for (const [r, c] of [[0, 0], [1, 0], [999, 1499], [500, 7]] as const) {
    assertEquals(transposed[c * rows + r], 2 * (r * columns + c));
  }
  assert(largest <= 2 ** 24, `${largest} bytes were read at once`);
  // Elements of 8 bytes whose bits are no number that JavaScript keeps.
  const words = new Uint8Array(32).fill(0xff);
  const bits = await readView(
    { shape: [2], strides: [2], offset: 0 },
    8,
    (start, length) => Promise.resolve(words.slice(start, start + length)),
  );
  assertEquals(bits, new Uint8Array(16).fill(0xff));
});

Deno.test({
  name: "openTensors() reads shards by their index, and refuses names that lead elsewhere",
  ignore: !mayWrite,
  fn: () =>
    withFolder({}, async (folder) => {
      const write = (name: string, tensor: string, value: number): Promise<number> =>
        writeSafetensors(`${folder}/${name}`, [
          { name: tensor, dtype: "F32", shape: [1], data: Float32Array.of(value) },
        ]);
      await write("one.safetensors", "a", 1);
      await write("two.safetensors", "b", 2);
      const index = `${folder}/model.safetensors.index.json`;
      const map = async (files: unknown): Promise<void> =>
        await Deno.writeTextFile(
          index,
          JSON.stringify({ "weight_map": files, metadata: { n: 8 } }),
        );
      await map({ a: "one.safetensors", b: "two.safetensors" });
      for (const path of [index, folder]) {
        using file = await openTensors(path);
        assertEquals(toFloat32(await file.bytes("b"), "F32"), Float32Array.of(2));
        assertEquals([...file.entries.keys()], ["a", "b"]);
        assertEquals(file.metadata.get("n"), "8");
      }
      assertEquals((await tensorFiles(folder)).length, 3);
      await map({ a: "one.safetensors", b: "one.safetensors" });
      await assertRejects(() => openTensors(index), UserError, "expected a tensor b, found none");
      for (const file of ["../one.safetensors", "/etc/passwd", "..", "a\\b", "", 7]) {
        await map({ a: file });
        await assertRejects(() => openTensors(index), UserError, "expected the name of a file");
      }
      await Deno.writeTextFile(index, "{");
      await assertRejects(() => openTensors(index), UserError, "a JSON object with a weight_map");
      await map({ a: "three.safetensors" });
      await assertRejects(() => openTensors(index), UserError, "no such file");
    }),
});

/** A share of what `tools/corrupt_checkpoints.ts` reads. */
const COPIES = 12;

for (const kind of ["zip", "legacy", "safetensors"] satisfies CheckpointKind[]) {
  Deno.test({
    name: `damaged and hostile checkpoints are refused with a clear error: ${kind}`,
    ignore: !mayRead,
    async fn() {
      const golden = { zip: "gpt_half_protocol4.ckpt", legacy: "gpt_legacy.pt" };
      const good = kind === "safetensors"
        ? await goodSafetensors()
        : await Deno.readFile(new URL(`../../tests/golden/ckpt/${golden[kind]}`, import.meta.url));
      const expected = await readHostile(good, "x");
      assert(typeof expected !== "string", String(expected));
      for await (const { what, bytes, refused } of hostileFiles(kind, good, COPIES)) {
        const found = await readHostile(bytes, "x");
        if (typeof found === "string") {
          assert(found.startsWith("Cannot read x: "), `${what}: ${found}`);
          assert(found.length < 1000, `${what}: a message of ${found.length} characters`);
          continue;
        }
        assert(!refused, `${what}: it was read`);
        // Records of an archive have checksums: what is read must be what was written.
        if (kind !== "zip") continue;
        for (const [name, tensor] of found) assertEquals(tensor, expected.get(name), what);
      }
    },
  });
}
