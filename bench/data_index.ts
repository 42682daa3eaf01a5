/**
 * Times how a data set of ImageNet's size opens: `deno run -A bench/data_index.ts [--images N] [--tree]`.
 *
 * A folder with a list of N names (ImageNet's 1,281,167 by default), or with --tree N empty files, is made in a temporary
 * place. It is opened by three processes: the first one makes the list and keeps it, the others find it.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { hashedPermutation } from "../models/hash.ts";
import { openImageNet } from "../train/data/imagenet.ts";

const IMAGENET_IMAGES = 1_281_167;
const CLASSES = 1000;

/** What one process measured. */
interface Opening {
  /** Milliseconds until the data set was open, decoding workers not started. */
  readonly openMs: number;
  /** Milliseconds until the order of the first epoch was drawn. */
  readonly orderMs: number;
  readonly images: number;
  readonly identity: string;
  readonly residentMiB: number;
}

/** Names as ImageNet has them: n01440764/n01440764_10026.JPEG. */
function* imageNames(images: number): Generator<string> {
  for (let i = 0; i < images; i++) {
    const synset = `n${
      String(1_440_764 + 7919 * Math.floor(i * CLASSES / images)).padStart(8, "0")
    }`;
    yield `${synset}/${synset}_${i % 99_991}.JPEG`;
  }
}

async function makeFolder(folder: string, images: number, tree: boolean): Promise<void> {
  await Deno.mkdir(`${folder}/train`);
  const names = [...imageNames(images)];
  if (tree) {
    for (const synset of new Set(names.map((name) => name.split("/")[0]))) {
      Deno.mkdirSync(`${folder}/train/${synset}`);
    }
    for (const name of names) {
      Deno.openSync(`${folder}/train/${name}`, { write: true, create: true }).close();
    }
    for (const { name } of Deno.readDirSync(`${folder}/train`)) {
      Deno.utimeSync(`${folder}/train/${name}`, 1000, 1000);
    }
    Deno.utimeSync(`${folder}/train`, 1000, 1000);
  } else {
    await Deno.writeTextFile(`${folder}/train/filelist.txt`, names.join("\n") + "\n");
    await Deno.utime(`${folder}/train/filelist.txt`, 1000, 1000);
  }
}

async function open(folder: string): Promise<Opening> {
  const startMs = performance.now();
  using dataset = await openImageNet({
    root: folder,
    split: "train",
    subset: null,
    subIndices: null,
    resolution: 256,
    randomCrop: true,
    cacheDirectory: `${folder}/cache`,
    warn: console.error,
  });
  const openMs = performance.now() - startMs;
  hashedPermutation(dataset.length, 0, 0);
  return {
    openMs,
    orderMs: performance.now() - startMs,
    images: dataset.length,
    identity: dataset.identity,
    residentMiB: Deno.memoryUsage().rss / 2 ** 20,
  };
}

/** Opens the folder in a process of its own, whose whole time counts too. */
async function openElsewhere(folder: string): Promise<Opening & { processMs: number }> {
  const startMs = performance.now();
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", import.meta.filename ?? "", "--folder", folder],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const opening: Opening = JSON.parse(new TextDecoder().decode(stdout));
  return { ...opening, processMs: performance.now() - startMs };
}

const args = parseArgs(Deno.args, { string: ["images", "folder"], boolean: ["tree"] });
if (args.folder) {
  console.log(JSON.stringify(await open(args.folder)));
} else {
  const folder = await Deno.makeTempDir({ prefix: "tessera-" });
  try {
    await makeFolder(folder, Number(args.images ?? IMAGENET_IMAGES), args.tree);
    for (const what of ["first", "second", "third"]) {
      const { processMs, openMs, orderMs, images, residentMiB } = await openElsewhere(folder);
      const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
      console.log(
        `${what} opening: ${images} images, open after ${
          seconds(openMs)
        }, order of the epoch after ${seconds(orderMs)}, whole process ${seconds(processMs)}, ${
          residentMiB.toFixed(0)
        } MiB resident`,
      );
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
