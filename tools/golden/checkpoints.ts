/** Checks the checkpoint files of a folder: `ckpt/` against `ckpt_expected.json`. @module */

import { UserError } from "../../train/errors.ts";
import { toNumbers } from "../../train/files/elements.ts";
import { openTensors } from "../../train/files/open_tensors.ts";
import type { TensorFile } from "../../train/files/tensor_file.ts";
import type { FileResult } from "./check.ts";
import { type Json, type JsonObject, objectOf, parseJson } from "./json.ts";
import type { GroupResult } from "./vectors.ts";

const EXPECTED = "ckpt_expected.json";
/** Sums of up to some thousand elements in double precision, in another order. */
const SUM_TOLERANCE = 1e-9;

/** What a check of one file found. */
interface Outcome {
  readonly error: number;
  readonly problem?: string;
}

/**
 * Reads every checkpoint of a folder: good ones must hold the expected tensors, bad ones must be refused.
 *
 * @param folder The folder with `ckpt_expected.json`.
 * @returns A group a file; undefined if the folder has no checkpoints.
 * @throws {UserError} If the expectations are no JSON.
 */
export async function checkCheckpoints(folder: string): Promise<FileResult | undefined> {
  let text: string;
  try {
    text = await Deno.readTextFile(`${folder}/${EXPECTED}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const groups: GroupResult[] = [];
  for (const [name, expected] of Object.entries(objectOf(parseJson(text, EXPECTED), EXPECTED))) {
    const outcome = await checkFile(`${folder}/ckpt/${name}`, objectOf(expected, name));
    const passed = outcome.problem === undefined && outcome.error <= SUM_TOLERANCE;
    groups.push({
      name,
      tolerance: SUM_TOLERANCE,
      passed,
      error: outcome.error,
      problem: outcome.problem,
    });
  }
  return { name: "ckpt", groups, checked: true };
}

async function checkFile(path: string, expected: JsonObject): Promise<Outcome> {
  // A sound file with a tensor of another shape than the model's is refused when the model is loaded.
  const isSound = expected.ok === true || String(expected.expect).startsWith("loads");
  try {
    using file = await openTensors(path);
    const tensors = objectOf(expected.tensors ?? {}, path);
    const special = objectOf(expected.special ?? {}, path);
    let error = 0;
    for (const name of file.entries.keys()) {
      const numbers = await valuesOf(file, name);
      if (tensors[name] !== undefined) {
        error = Math.max(error, differenceOf(file, name, numbers, objectOf(tensors[name], name)));
      } else if (special[name] !== undefined) {
        error = Math.max(error, specialDifference(numbers, special[name]));
      } else if (expected.ok === true) {
        return { error: Infinity, problem: `expected no tensor ${name}, found one` };
      }
    }
    const missing = [...Object.keys(tensors), ...Object.keys(special)].find((name) =>
      !file.entries.has(name)
    );
    if (missing !== undefined) {
      return { error: Infinity, problem: `expected a tensor ${missing}, found none` };
    }
    return isSound ? { error } : { error: Infinity, problem: "expected an error, found tensors" };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return isSound ? { error: Infinity, problem: error.message } : { error: 0 };
  }
}

async function valuesOf(file: TensorFile, name: string): Promise<ArrayLike<number>> {
  return toNumbers(await file.bytes(name), file.entries.get(name)!.dtype);
}

/** Names of PyTorch by ours. */
const DTYPES: Readonly<Record<string, string>> = {
  ...{ F64: "float64", F32: "float32", F16: "float16", BF16: "bfloat16", I64: "int64" },
  ...{ I32: "int32", I16: "int16", I8: "int8", U8: "uint8", BOOL: "bool" },
};

/** The largest difference of sum, norm and first elements, each relative to its size; infinite for another type or shape. */
function differenceOf(
  file: TensorFile,
  name: string,
  numbers: ArrayLike<number>,
  expected: JsonObject,
): number {
  const { dtype, shape } = file.entries.get(name)!;
  if (
    DTYPES[dtype] !== expected.dtype || JSON.stringify(shape) !== JSON.stringify(expected.shape)
  ) {
    return Infinity;
  }
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < numbers.length; i++) {
    sum += numbers[i]!;
    squares += numbers[i]! ** 2;
  }
  const norm = Math.sqrt(squares);
  const first = Array.isArray(expected.first) ? expected.first : [];
  const scale = Math.max(1, norm);
  return Math.max(
    difference(sum, expected.sum, scale),
    difference(norm, expected.l2, scale),
    ...first.map((value: Json, i: number) => difference(numbers[i]!, value, scale)),
  );
}

function difference(found: number, expected: Json | undefined, scale: number): number {
  const value = Number(expected);
  return Object.is(found, value) ? 0 : Math.abs(found - value) / scale;
}

/** Bit patterns at the ends of a type, as texts: exactly these. */
function specialDifference(numbers: ArrayLike<number>, expected: Json): number {
  const texts = Array.isArray(expected) ? expected.map(String) : [];
  const same = texts.length === numbers.length &&
    texts.every((text, i) => Object.is(Number(text.replace("inf", "Infinity")), numbers[i]));
  return same ? 0 : Infinity;
}
