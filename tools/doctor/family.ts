/** Runs the GPU tests of one file and sums them up in a line. @module */

import { GpuError } from "../../kernels/errors.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { type Comparison, GRADIENT, observeComparisons } from "../../tests/close.ts";
import { type GpuTest, runGpuTest } from "../../tests/op_case.ts";

/** A check that did not hold. */
export interface Failure {
  /** Name of the test. */
  readonly test: string;
  /** What it says. */
  readonly message: string;
}

/** What became of the tests of a family of kernels. */
export interface FamilyResult {
  /** Name of the family. */
  readonly name: string;
  /** Number of tests. */
  readonly checks: number;
  /** The comparison of values that used up most of its tolerance; none if all were exact. */
  readonly values: Comparison | undefined;
  /** The same of analytic gradients against finite differences. */
  readonly gradients: Comparison | undefined;
  /** Tests that failed. */
  readonly failures: readonly Failure[];
  /** Kernels and entry points that were dispatched. */
  readonly operations: ReadonlySet<string>;
}

/** Width of the column of names. */
const NAME_WIDTH = 26;

/**
 * Runs the tests of a family, all of them even if some fail.
 *
 * @param name Name of the family.
 * @param tests Its tests.
 * @param open Opens the adapter: once, and again after each test that broke the device.
 * @returns What became of them.
 */
export async function runFamily(
  name: string,
  tests: readonly GpuTest[],
  open: () => Promise<Gpu>,
): Promise<FamilyResult> {
  let values: Comparison | undefined, gradients: Comparison | undefined;
  using _observation = observeComparisons((comparison) => {
    if (comparison.tolerance === GRADIENT) gradients = worse(gradients, comparison);
    else values = worse(values, comparison);
  });
  const failures: Failure[] = [];
  const operations = new Set<string>();
  let gpu = await open();
  try {
    for (const { name: test, body } of tests) {
      try {
        await runGpuTest(gpu, body);
      } catch (error) {
        failures.push({ test, message: error instanceof Error ? error.message : String(error) });
        if (!(error instanceof GpuError)) continue;
        gpu[Symbol.dispose]();
        gpu = await open();
      } finally {
        for (const operation of gpu.operations) operations.add(operation);
      }
    }
  } finally {
    gpu[Symbol.dispose]();
  }
  return { name, checks: tests.length, values, gradients, failures, operations };
}

/** The heading over the lines of {@linkcode formatFamily}. */
export const FAMILY_HEADING = `${"kernels".padEnd(NAME_WIDTH)} checks ${column("values", "of")}  ${
  column("gradients", "of")
}  verdict`;

/**
 * Says how a family did.
 *
 * @param result What became of its tests.
 * @returns One line: name, number of checks, worst error and its tolerance for values and gradients, verdict; then a line a failure.
 */
export function formatFamily(result: FamilyResult): string {
  const { name, checks, values, gradients, failures } = result;
  const verdict = failures.length === 0 ? "ok" : `FAILED ${failures.length}`;
  const head = `${name.padEnd(NAME_WIDTH)} ${String(checks).padStart(6)} ${
    numbers(values, "exact")
  }  ${numbers(gradients, "")}  ${verdict}`;
  return [head, ...failures.map(({ test, message }) => `  ${test}: ${message}`)].join("\n");
}

function numbers(comparison: Comparison | undefined, otherwise: string): string {
  if (!comparison) return column(otherwise, "");
  return column(short(comparison.error), short(comparison.allowed));
}

function short(value: number): string {
  return value === 0 ? "0" : value.toExponential(1);
}

function column(first: string, second: string): string {
  return `${first.padStart(9)} ${second.padStart(8)}`;
}

function worse(a: Comparison | undefined, b: Comparison): Comparison {
  return a && shareOf(a) >= shareOf(b) ? a : b;
}

/** How much of its tolerance a comparison used; NaN uses all of it. */
function shareOf({ error, allowed }: Comparison): number {
  return error === 0 ? 0 : Number.isNaN(error) ? Infinity : error / allowed;
}
