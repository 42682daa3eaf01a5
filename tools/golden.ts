/** Checks the engine against the reference's vectors: `deno task golden [FOLDER]`. @module */

import { parseArgs } from "@std/cli/parse-args";
import { GpuError } from "../kernels/errors.ts";
import { Gpu } from "../kernels/gpu.ts";
import { USER_ERROR_EXIT_CODE, UserError } from "../train/errors.ts";
import { type FileResult, VectorFolder } from "./golden/check.ts";
import { checkCheckpoints } from "./golden/checkpoints.ts";
import type { GroupResult } from "./golden/vectors.ts";

const DEFAULT_FOLDER = "tests/golden";

const HELP = `Checks the engine against vectors that the reference computed.

Usage: deno task golden [FOLDER]

  FOLDER   folder with .safetensors files and tolerances.json, ${DEFAULT_FOLDER} by default
  --help   show this text

Prints a line a group of tensors: name, worst error, tolerance, verdict. The exit code is 1 if a group
fails or a file is unknown or malformed, and 2 if the folder cannot be read.`;

/** Width of the column of names. */
const NAME_WIDTH = 56;

/**
 * Says how a group did.
 *
 * @param file Name of its file.
 * @param group Its result.
 * @returns One line: name, worst error, tolerance, verdict, and the problem if there is one.
 */
export function formatGroup(file: string, group: GroupResult): string {
  const { name, error, tolerance, passed, problem } = group;
  const numbers = [error, tolerance].map((value) => value.toExponential(1).padStart(9)).join(" ");
  const verdict = passed ? "ok" : "FAILED";
  return `${`${file} ${name}`.padEnd(NAME_WIDTH)} ${numbers}  ${verdict}${
    problem === undefined ? "" : `: ${problem}`
  }`;
}

/**
 * Checks a folder and prints the report.
 *
 * @param path The folder.
 * @returns The exit code.
 * @throws {UserError} If the folder cannot be read.
 */
async function checkFolder(path: string): Promise<number> {
  const folder = await VectorFolder.open(path);
  using gpu = await openGpu();
  const results: FileResult[] = [];
  for (const name of folder.files) {
    const result = await folder.check(name, gpu);
    results.push(result);
    for (const group of result.groups) console.log(formatGroup(name, group));
    if (!result.checked) console.log(`${name.padEnd(NAME_WIDTH)} not checked yet`);
  }
  const checkpoints = await checkCheckpoints(path);
  if (checkpoints) {
    results.push(checkpoints);
    for (const group of checkpoints.groups) console.log(formatGroup(checkpoints.name, group));
  }
  const groups = results.flatMap((result) => result.groups);
  const failures = groups.filter((group) => !group.passed).length;
  const checked = results.filter((result) => result.checked).length;
  console.log(
    `${groups.length - failures} groups passed, ${failures} failed, in ${checked} files; ` +
      `${results.length - checked} files not checked`,
  );
  return failures > 0 ? 1 : 0;
}

/** Opens the adapter; that there is none is for the user to mend. */
async function openGpu(): Promise<Gpu> {
  try {
    return await Gpu.open();
  } catch (cause) {
    if (!(cause instanceof GpuError)) throw cause;
    throw new UserError(cause.message, { cause });
  }
}

/** The command line. */
async function main(args: readonly string[]): Promise<number> {
  const unknown: string[] = [];
  const { help, _: folders } = parseArgs(args, {
    boolean: ["help"],
    alias: { help: "h" },
    unknown: (arg) => {
      if (!arg.startsWith("-")) return true;
      unknown.push(arg);
      return false;
    },
  });
  if (help) {
    console.log(HELP);
    return 0;
  }
  try {
    if (unknown.length > 0 || folders.length > 1) {
      const found = [...unknown, ...folders].join(" ");
      throw new UserError(`Cannot read the arguments: expected at most one folder, found ${found}`);
    }
    return await checkFolder(String(folders[0] ?? DEFAULT_FOLDER));
  } catch (error) {
    if (!(error instanceof UserError || error instanceof GpuError)) throw error;
    console.error(error.message);
    return error instanceof UserError ? USER_ERROR_EXIT_CODE : 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
