import { assertEquals } from "@std/assert";
import { hasMaskedVectors } from "./processor.ts";

Deno.test("hasMaskedVectors() wants the flag of every processor", () => {
  const plain = "processor\t: 0\nflags\t\t: fpu avx2 avx512f\nbugs\t\t: none\n";
  const masked = "processor\t: 1\nflags\t\t: fpu avx2 avx512f avx512vl\nbugs\t\t: none\n";
  assertEquals(hasMaskedVectors(masked), true);
  assertEquals(hasMaskedVectors(masked + masked), true);
  assertEquals(hasMaskedVectors(plain), false);
  assertEquals(hasMaskedVectors(masked + plain), false);
  assertEquals(hasMaskedVectors("Features\t: fp asimd\n"), false);
  assertEquals(hasMaskedVectors(""), false);
});
