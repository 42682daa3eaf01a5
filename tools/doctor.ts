/**
 * Looks at the adapter and checks every kernel on it: `deno task doctor [FAMILIES]`.
 *
 * The checks are the tests of kernels/ and nn/ themselves, whose references are computed on the host in double precision.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { GpuError } from "../kernels/errors.ts";
import { Gpu } from "../kernels/gpu.ts";
import { definedKernels, type Kernel } from "../kernels/mod.ts";
import { takeGpuTests } from "../tests/op_case.ts";
import { USER_ERROR_EXIT_CODE } from "../train/errors.ts";
import { memoryBudgetBytes } from "../train/open_gpu.ts";
import { describeAdapter } from "./doctor/adapter.ts";
import { FAMILY_HEADING, formatFamily, runFamily } from "./doctor/family.ts";

/** Kernels of WGSL files; generated ones are made when they run, and those of tests later. */
const KERNELS = [...definedKernels()];

const ROOT = new URL("../", import.meta.url);
/** Folders whose tests are checks of kernels. */
const FOLDERS = ["kernels", "nn"];

const HELP =
  `Prints adapter, limits and features, and checks every kernel against its reference on the CPU.

Usage: deno task doctor [FAMILIES]

  FAMILIES   only families whose name has one of these texts in it, such as conv2d or nn/softmax
  --help     show this text

Prints a line a family: number of checks, worst error and tolerance of values, the same of gradients
against finite differences, verdict. The exit code is 1 if a check fails or an entry point of a kernel
has not run, and 2 if there is no adapter.`;

/** Names of the families: test files without their ending. */
function familyNames(): string[] {
  const names = FOLDERS.flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) => `${folder}/${name}`)
  );
  const ending = "_test.ts";
  return names.filter((name) => name.endsWith(ending)).map((name) => name.slice(0, -ending.length))
    .sort();
}

/** Names of entry points as {@linkcode Gpu.operations} has them; variants of a kernel share theirs. */
function entryPointsOf(kernels: readonly Kernel[]): Set<string> {
  return new Set(
    kernels.flatMap(({ name, entryPoints }) =>
      [...entryPoints.keys()].map((entryPoint) => `${name}.${entryPoint}`)
    ),
  );
}

/** Checks families and prints the report; returns the exit code. */
async function examine(wanted: readonly string[]): Promise<number> {
  {
    using gpu = await Gpu.open();
    const description = describeAdapter(gpu, {
      backend: Deno.env.get("DENO_WEBGPU_BACKEND"),
      budgetBytes: memoryBudgetBytes(),
      memoryBytes: Deno.systemMemoryInfo().total,
    });
    console.log([...description, "", FAMILY_HEADING].join("\n"));
  }
  const names = familyNames().filter((name) =>
    wanted.length === 0 || wanted.some((text) => name.includes(text))
  );
  let checks = 0, failures = 0;
  const operations = new Set<string>();
  for (const name of names) {
    await import(new URL(`${name}_test.ts`, ROOT).href);
    const tests = takeGpuTests();
    if (tests.length === 0) continue;
    const result = await runFamily(name, tests, () => Gpu.open());
    console.log(formatFamily(result));
    checks += result.checks;
    failures += result.failures.length;
    for (const operation of result.operations) operations.add(operation);
  }
  console.log(`${checks - failures} checks passed, ${failures} failed`);
  if (wanted.length > 0) return failures > 0 ? 1 : 0;
  const entryPoints = entryPointsOf(KERNELS);
  const missing = [...entryPoints].filter((name) => !operations.has(name));
  console.log(
    `${entryPoints.size - missing.length} of ${entryPoints.size} entry points of WGSL files ran` +
      (missing.length > 0 ? `; not run: ${missing.join(", ")}` : ""),
  );
  return failures > 0 || missing.length > 0 ? 1 : 0;
}

/** The command line; returns the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const { help, _: wanted } = parseArgs(args, { boolean: ["help"], alias: { help: "h" } });
  if (help) {
    console.log(HELP);
    return 0;
  }
  try {
    return await examine(wanted.map(String));
  } catch (error) {
    if (!(error instanceof GpuError)) throw error;
    console.error(error.message);
    return USER_ERROR_EXIT_CODE;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
