import { assertEquals, assertRejects } from "@std/assert";
import { withFolder } from "../../tests/images.ts";
import { UserError } from "../errors.ts";
import { listPictures, readPicture } from "./picture_files.ts";

const ignore = (await Deno.permissions.query({ name: "write" })).state !== "granted";
// Numbers are pictures of 40 × 30 pixels.
const FILES = {
  "a/cats/1.png": 1,
  "a/cats/deep/2.png": 2,
  "a/0.png": 3,
  "a/.hidden.png": 4,
  "a/notes.txt": new TextEncoder().encode("0.png\r\ncats/1.png\n\nnone.png\n"),
  "b/0.png": 5,
  "broken.png": new TextEncoder().encode("no image"),
  "empty/x.txt": new Uint8Array(),
};

Deno.test({
  name: "listPictures() walks folders by name, takes a subset of them, and names each once",
  ignore,
  fn: () =>
    withFolder(FILES, async (folder) => {
      const namesOf = async (paths: string[], subset?: string) =>
        (await listPictures(paths.map((path) => `${folder}/${path}`), { subset }))
          .map(({ name, named }) => `${name}${named ? "!" : ""}`);
      assertEquals(await namesOf(["a"]), ["0", "cats/1", "cats/deep/2"]);
      assertEquals(await namesOf(["b/0.png", "a", "b"]), [
        ...["0!", "0_2", "cats/1", "cats/deep/2", "0_3"],
      ]);
      assertEquals(await namesOf(["a"], `${folder}/a/notes.txt`), ["0", "cats/1"]);
      const refused: readonly (readonly [() => Promise<unknown>, string])[] = [
        [() => namesOf(["empty"]), "expected a PNG or JPEG file, found none"],
        [() => namesOf(["a"], `${folder}/broken.png`), "expected one of the images of"],
        [() => namesOf(["a"], `${folder}/none.txt`), "Cannot read the subset"],
        [() => namesOf(["none"]), `Cannot read image ${folder}/none: no such file or folder`],
      ];
      for (const [call, message] of refused) await assertRejects(call, UserError, message);
    }),
});

Deno.test({
  name: "readPicture() keeps an image's size or cuts a square from its middle",
  ignore,
  fn: () =>
    withFolder(FILES, async (folder) => {
      const sizeOf = async (size: number | undefined) => {
        const { width, height, pixels } = await readPicture(`${folder}/b/0.png`, size);
        return [width, height, pixels.length];
      };
      assertEquals(await sizeOf(undefined), [40, 30, 3600]);
      assertEquals(await sizeOf(16), [16, 16, 768]);
      assertEquals(await sizeOf(64), [64, 64, 12288]);
      await assertRejects(
        () => readPicture(`${folder}/broken.png`, undefined),
        UserError,
        `Cannot read image ${folder}/broken.png: expected a PNG or JPEG file, found that Cannot`,
      );
      await assertRejects(() => readPicture(`${folder}/b`, 8), UserError, "it is a folder");
    }),
});
