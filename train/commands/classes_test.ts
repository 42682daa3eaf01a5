import { assertEquals, assertThrows } from "@std/assert";
import { IMAGENET_CLASSES } from "../data/imagenet_classes.ts";
import { UserError } from "../errors.ts";
import { classTitle, selectClasses } from "./classes.ts";

Deno.test("selectClasses() takes names, numbers and all", () => {
  const names = ["cats", "dogs", "7"];
  for (const all of [undefined, "all", "imagenet"]) {
    assertEquals(selectClasses(all, names), [0, 1, 2]);
  }
  assertEquals(selectClasses("dogs, 0,7", names), [1, 0, 2]);
  for (const text of ["3", "birds", "-1", "1.5", ",", ""]) {
    assertThrows(() => selectClasses(text, names), UserError, "Cannot sample");
  }
});

Deno.test("selectClasses() knows ImageNet's classes by synset and by WordNet's names", () => {
  const synsets = IMAGENET_CLASSES.map(({ synset }) => synset);
  assertEquals(synsets.length, 1000);
  assertEquals(synsets, synsets.toSorted());
  const numbers = synsets.map((_, label) => String(label));
  for (const names of [synsets, numbers]) {
    assertEquals(
      selectClasses("207,n02099601,golden retriever,Golden Retriever,tench", names),
      [207, 207, 207, 207, 0],
    );
    assertEquals(classTitle(207, names), "207 golden retriever");
    assertThrows(
      () => selectClasses("crane", names),
      UserError,
      "Cannot sample class crane: expected the name of one class, found that of 134 (",
    );
    assertThrows(() => selectClasses("1000", names), UserError, "a number from 0 to 999 or one");
    assertThrows(() => selectClasses("unicorn", names), UserError, " and 980 more");
  }
  // Some classes of ImageNet: numbers are ranks among these.
  const some = ["n01440764", "n02099601"];
  assertEquals(selectClasses("golden retriever,0", some), [1, 0]);
  assertEquals(classTitle(0, some), "0 tench");
  assertEquals(classTitle(1, ["cats", "dogs"]), "dogs");
  assertThrows(() => selectClasses("golden retriever", ["cats", "dogs"]), UserError, "cats, dogs");
});
