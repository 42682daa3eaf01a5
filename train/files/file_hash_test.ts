/** Tests of hashes that are kept between runs. @module */

import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { withFolder } from "../../tests/images.ts";
import { ignoreFiles } from "../../tests/tiny_run.ts";
import { UserError } from "../errors.ts";
import { fileHash } from "./file_hash.ts";

Deno.test({
  name: "fileHash() reads files again when time or size differ, and only then",
  ignore: ignoreFiles,
  fn: () =>
    withFolder({}, async (folder) => {
      const [path, other, cache] = [`${folder}/a`, `${folder}/b`, `${folder}/cache`];
      const long = new Date(Date.now() - 60_000);
      const write = async (text: string, time = long): Promise<void> => {
        await Deno.writeTextFile(path, text);
        await Deno.utime(path, time, time);
      };
      await write("one");
      await Deno.writeTextFile(other, "other");
      // printf one | sha256sum
      const one = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
      assertEquals(await fileHash([path], cache), one);
      // Same time and size: taken for the same file, which shows that it is not read.
      await write("two");
      assertEquals(await fileHash([path], cache), one);
      assertNotEquals(await fileHash([path], null), one);
      const later = new Date(long.getTime() + 10_000);
      await write("two", later);
      const two = await fileHash([path], cache);
      assertNotEquals(two, one);
      assertEquals(two, await fileHash([path], null));
      await write("three", later);
      assertEquals(await fileHash([path], cache), await fileHash([path], null));
      // Changed just now: it may change again within the clock's resolution.
      await write("four!", new Date());
      const four = await fileHash([path], cache);
      await write("five!", new Date());
      assertNotEquals(await fileHash([path], cache), four);
      // Damage, or the hash of other files, is no hash.
      await write("one");
      await fileHash([path], cache);
      for await (const { name } of Deno.readDir(`${cache}/hashes`)) {
        await Deno.writeTextFile(`${cache}/hashes/${name}`, "{");
      }
      assertEquals(await fileHash([path], cache), one);
      assertNotEquals(await fileHash([path, other], cache), one);
      await assertRejects(() => fileHash([`${folder}/none`], cache), UserError, "no such file");
      // A cache that cannot be written only costs time.
      assertEquals(await fileHash([path], other), one);
    }),
});
