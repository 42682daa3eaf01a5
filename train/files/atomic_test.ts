/** Tests of atomic writes: whole or not at all, whatever fails. @module */
import { assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../errors.ts";
import { temporaryPath, writeFileAtomically } from "./atomic.ts";

const ignoreFiles = (await Deno.permissions.query({ name: "write" })).state !== "granted";
const ignoreProcess = ignoreFiles ||
  (await Deno.permissions.query({ name: "run" })).state !== "granted";
const ignoreFullDevice = ignoreFiles || Deno.build.os !== "linux";

/** Runs a test body in a folder of its own and says what is in it afterwards. */
async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function names(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder), (entry) => entry.name).sort();
}

async function* failingAfterOneChunk(): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(3);
  await Promise.resolve();
  throw new RangeError("no second chunk");
}

Deno.test({
  name: "writeFileAtomically() writes texts, buffers and streams and leaves no other file",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.txt`;
      assertEquals(await writeFileAtomically(path, "zürich"), 7);
      assertEquals(await Deno.readTextFile(path), "zürich");
      assertEquals(await writeFileAtomically(path, new Uint8Array([104, 105])), 2);
      assertEquals(await Deno.readTextFile(path), "hi");
      const chunks = Array.from({ length: 5 }, (_, index) => new Uint8Array(70_000).fill(index));
      assertEquals(await writeFileAtomically(path, chunks), 350_000);
      const read = await Deno.readFile(path);
      assertEquals([read.length, read[69_999], read[70_000], read[349_999]], [350_000, 0, 1, 4]);
      assertEquals(names(folder), ["a.txt"]);
    }),
});

Deno.test({
  name: "writeFileAtomically() keeps the old file when the producer of the chunks fails",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.bin`;
      await writeFileAtomically(path, "old");
      await assertRejects(
        () => writeFileAtomically(path, failingAfterOneChunk()),
        RangeError,
        "no second chunk",
      );
      assertEquals(await Deno.readTextFile(path), "old");
      assertEquals(names(folder), ["a.bin"]);
    }),
});

Deno.test({
  name: "writeFileAtomically() keeps the old file on a full disk and names file and cause",
  ignore: ignoreFullDevice,
  fn: () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.bin`;
      await writeFileAtomically(path, "old");
      const open = () => Deno.open("/dev/full", { write: true });
      const error = await assertRejects(
        () => writeFileAtomically(path, "new", { open }),
        UserError,
      );
      assertEquals(error.message, `Cannot write ${path}: no space left on device`);
      assertEquals(await Deno.readTextFile(path), "old");
      assertEquals(names(folder), ["a.bin"]);
    }),
});

Deno.test({
  name: "writeFileAtomically() names a missing folder and a folder in place of the file",
  ignore: ignoreFiles,
  fn: () =>
    inFolder(async (folder) => {
      const missing = `${folder}/none/a.bin`;
      const error = await assertRejects(() => writeFileAtomically(missing, "x"), UserError);
      assertEquals(error.message, `Cannot write ${missing}: no such file or folder`);
      await Deno.mkdir(`${folder}/taken`);
      await assertRejects(() => writeFileAtomically(`${folder}/taken`, "x"), UserError, "folder");
      assertEquals(names(folder), ["taken"]);
    }),
});

Deno.test({
  name: "writeFileAtomically() leaves the old file when killed, and the next write cleans up",
  ignore: ignoreProcess,
  fn: () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.bin`;
      await writeFileAtomically(path, "old");
      const script = `
        import { writeFileAtomically } from ${JSON.stringify(import.meta.resolve("./atomic.ts"))};
        async function* endless() {
          for (;;) {
            yield new Uint8Array(1000);
            console.log("wrote");
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        }
        await writeFileAtomically(${JSON.stringify(path)}, endless());`;
      await Deno.writeTextFile(`${folder}/endless.ts`, script);
      const writer = new Deno.Command(Deno.execPath(), {
        args: ["run", "--allow-all", "--no-check", `${folder}/endless.ts`],
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const output = writer.stdout.getReader();
      await output.read();
      writer.kill("SIGKILL");
      await writer.status;
      await output.cancel();
      assertEquals(await Deno.readTextFile(path), "old");
      await Deno.stat(temporaryPath(path));
      await writeFileAtomically(path, "new");
      assertEquals(await Deno.readTextFile(path), "new");
      assertEquals(names(folder), ["a.bin", "endless.ts"]);
    }),
});
