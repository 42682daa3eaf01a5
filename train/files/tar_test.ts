/** Tests of tar archives: Python's own archives, hostile ones, damaged ones. @module */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { corrupted, DAMAGES } from "../../tests/corrupt.ts";
import { tarFile, type TarPart } from "../../tests/tar.ts";
import { UserError } from "../errors.ts";
import { listTar, type TarListing, type TarMember } from "./tar.ts";

const ignore = (await Deno.permissions.query({ name: "write" })).state !== "granted";

// Written by Python 3.11's tarfile in its three formats, then gzip: a folder, a.jpg, b.jpeg.jpg, a name of over 100 bytes,
// one of over 256 (not in ustar), and a link. Member i has 300 · i + 1 bytes of i.
const ARCHIVES = {
  ustar:
    "H4sIAAAAAAACA+3X3w6CIBTHcepJfIIEA3weyz+rXDm11ePH6o61aSts1vdzA3eH7ex3gPJU50Ubi5CkY7W+r46/PtmniTIiMmIC567PWldS/KdstW+qwDWG+6+8/ltrrIgk/QeC2rj8F1XYITCUf22MP/9tIsn/FBYY7wf7f33D2KkxkH+l1t79r1MjzczzXz4e1nkwnznmEgiBp9Us1LvjIXSNl///StpUiSiJi34bN1nXXfLZzX8AAAAAAAAAAL7oBnDUhXsAKAAA",
  gnu:
    "H4sIAAAAAAACA+3YS26DMBQFULfdiFeA/2aaBbAJWj5Ki5IIqJotZR3dWK1W6sAggdQ8I5V7GOAZg6f7fEVz7qq6F4ySDLy13+8gfs+cc+Uc444l8D6MZc8526kye720xN9Ynr+K5u+98oxLzB+A1HPIf93SLoGl/Nuw7KP977xE/lN4gPX+4fwzkYlDcT61xfH0Rpj/mdz/Zl5bE+c/d5bxAvkn1/z0/4qMuP5BgnK6cynmv3D/K2Wi/m+U9g73fwqPABSwWtH/VvY/q+W0/yn0v4T3/+cNzy7LZor5L/U/L6P/P05qk6P/pfAEANvaMP8dXe1b/f9/clbSm9D/tKjHF3Eph+Gjwv4HAAAAuI8vmde29QAoAAA=",
  pax:
    "H4sIAAAAAAACA+3ZTU7DMBAFYAM7TpETxJ6J7bBBsGTJFQxJy08FURNErsQ5uBguIKRalVJEx5Xo+7JIdl6MZuYlmT0vmnaplSQTeWs/71F63/BcMzlVOJXBSz+EZTxSHaZQPnRz4TOm609J/b13XhUG9QcQdRP7v53LDoGp/rfOpfPfs0H/53AE2/uH9S91qS+vw3jVhpgD5fp/Q9//9Dw7u97/ZJji/h/R/+Ko5qILw9357OtFoBGjxz9YLahTbOvdy1H2if1PVCX5v6KKHfZ/DscAEjBakf+2zH82nf+r/Fch/+XAZ7SW/97fcB1S2Pwu+4WkqfznTfL9h9n5GvkvhxMA2K899v/i/ulR+oxf//8l42tSBet2uNVd6PvXBvMfAAAAYDc+AGApDEYAKAAA",
};

const DEEP = `folder/${"d".repeat(90)}/${"x".repeat(60)}.jpg`;
const LONG = `folder/${"é".repeat(130)}.jpg`;

async function unpacked(base64: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Lists an archive that is written to a file, the only one of its folder before and after. */
async function list(bytes: Uint8Array): Promise<TarListing> {
  const folder = await Deno.makeTempDir({ prefix: "tessera-" });
  try {
    await Deno.writeFile(`${folder}/a.tar`, bytes);
    const listing = listTar(`${folder}/a.tar`);
    assertEquals([...Deno.readDirSync(folder)].length, 1);
    return listing;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const [format, base64] of Object.entries(ARCHIVES)) {
  Deno.test({
    name: `listTar() finds the files of an archive in the format ${format}`,
    ignore,
    fn: async () => {
      const archive = await unpacked(base64);
      const { members, problem } = await list(archive);
      assertEquals(problem, undefined);
      const names = ["a.jpg", "b.jpeg.jpg", DEEP, ...format === "ustar" ? [] : [LONG]];
      assertEquals(members.map(({ name }) => name), names);
      members.forEach(({ startByte, lengthBytes }, i) => {
        const content = archive.subarray(startByte, startByte + lengthBytes);
        assertEquals(content, new Uint8Array(300 * i + 1).fill(i));
      });
    },
  });
}

function places({ startByte, lengthBytes }: TarMember): number[] {
  return [startByte, lengthBytes];
}

const one: TarPart = { name: "a.jpg", data: Uint8Array.of(1, 2, 3) };

Deno.test({
  name: "listTar() gives the files before a hostile member, and says what is wrong",
  ignore,
  fn: async () => {
    const hostile: readonly [TarPart, string][] = [
      [{ name: "../../etc/passwd", data: new Uint8Array(1) }, "names inside the archive"],
      [{ name: "/etc/passwd" }, "names inside the archive"],
      [{ name: "a/../../b" }, "names inside the archive"],
      [{ name: "C:\\x" }, "names inside the archive"],
      [{ name: "bomb.jpg", lengthBytes: 2 ** 32 }, "the archive is cut short"],
      [{ name: "x", type: "x", lengthBytes: 2 ** 31 }, "the archive is cut short"],
      [{ name: "x", type: "L", data: new Uint8Array(2 ** 20 + 1) }, "at most 1048576 bytes"],
      [{ name: "x", type: "x", data: new TextEncoder().encode("99 path=b\n") }, "expected records"],
      [{ name: "x", type: "x", data: new TextEncoder().encode("12 size=-1\n\n") }, "a size"],
      [{ name: "sparse", type: "S" }, 'a member of type "S"'],
    ];
    for (const [part, includes] of hostile) {
      const { members, problem = "" } = await list(tarFile([one, part, one]));
      assertEquals(members.map(({ name }) => name), ["a.jpg"], part.name);
      assert(problem.includes(includes), problem);
    }
    // A long name may lead out as well.
    const name = new TextEncoder().encode("../".repeat(50) + "x");
    const { members, problem = "" } = await list(
      tarFile([one, { name: "L", type: "L", data: name }, one]),
    );
    assertEquals(members.length, 1);
    assert(problem.includes("names inside the archive"), problem);
    // A link leads nowhere, as nothing is unpacked.
    const link = { name: "l", type: "2", target: "/etc/passwd" };
    assertEquals((await list(tarFile([link, one]))).members.length, 1);
  },
});

Deno.test({
  name: "listTar() says that an archive has no end, and names what is no archive",
  ignore,
  fn: async () => {
    const archive = tarFile([one]);
    const { members, problem = "" } = await list(archive.subarray(0, 1024));
    assertEquals(members.length, 1);
    assert(problem.includes("found the file's end"), problem);
    const text = await list(new TextEncoder().encode("no archive ".repeat(100)));
    assertEquals(text, {
      members: [],
      problem: "expected a tar header at byte 0, found other bytes",
    });
    assertThrows(() => listTar("no/such.tar"), UserError, "Cannot read no/such.tar: no such file");
    assertThrows(() => listTar("."), UserError, "it is a folder");
  },
});

Deno.test({
  name: "listTar() answers 200 corruptions of each kind with a clear problem or the same files",
  ignore,
  fn: async () => {
    const archive = await unpacked(ARCHIVES.pax);
    const want = (await list(archive)).members;
    for (const damage of DAMAGES) {
      let told = 0;
      for (let number = 0; number < 200; number++) {
        // The length of the second file is at byte 124 of its header, behind a folder and the first file.
        const length = { at: 512 + 1024 + 124, bytes: 12 };
        const bytes = corrupted(archive, damage, { number, length });
        const { members, problem } = await list(bytes);
        if (problem === undefined) {
          // Names in extended headers have no checksum.
          assertEquals(members.map(places), want.map(places), `${damage} ${number}`);
          continue;
        }
        assert(problem.startsWith("expected "), problem);
        assert(
          members.every(({ startByte, lengthBytes }) => startByte + lengthBytes <= bytes.length),
        );
        told++;
      }
      // A flipped byte of a content or of the padding is not the archive's to notice.
      assert(
        told >= { "cut": 100, "flipped byte": 20, "wrong length": 200 }[damage],
        `${damage}: ${told}`,
      );
    }
  },
});
