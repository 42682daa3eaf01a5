/** What became of each tensor when weights were loaded, in words. @module */

import type { LoadReport } from "../models/weights.ts";

/** Names of each kind that are shown. */
const SHOWN_NAMES = 5;

/** A report with the tensors that belong to other parts than the loaded one. */
export interface WeightsReport extends LoadReport {
  /** Names of the file outside of the model's own modules: losses, averages, optimizers, other models. */
  aside: string[];
}

/**
 * Lists what keeps a checkpoint from being complete.
 *
 * @param report The report.
 * @returns Clauses such as "encoder.conv_in.bias is missing".
 */
export function problemsOf({ missing, unexpected, mismatched }: LoadReport): string[] {
  return [
    ...missing.map((name) => `${name} is missing`),
    ...mismatched.map(({ name, expected, found }) =>
      `${name} has shape [${found}] instead of [${expected}]`
    ),
    ...unexpected.map((name) => `${name} is unknown to this model`),
  ];
}

/**
 * Shortens a list for a message.
 *
 * @param items Texts.
 * @returns The first ones, and how many more there are.
 */
export function someOf(items: readonly string[]): string {
  const more = items.length > SHOWN_NAMES ? `, and ${items.length - SHOWN_NAMES} more` : "";
  return items.slice(0, SHOWN_NAMES).join(", ") + more;
}

/**
 * Says in one line what was loaded and what not.
 *
 * @param path The file.
 * @param report What was found.
 * @param weights What the loaded tensors are. Default "tensors".
 * @returns Counts of loaded, missing, unexpected and misshapen tensors, the names of the last three, and what was left aside.
 */
export function describeLoad(path: string, report: WeightsReport, weights = "tensors"): string {
  const { loaded, missing, unexpected, mismatched, aside } = report;
  const counts = [
    `${loaded.length} ${weights} loaded`,
    `${missing.length} missing`,
    `${unexpected.length} unexpected`,
    `${mismatched.length} of another shape`,
  ].join(", ");
  const problems = problemsOf(report);
  const groups = Map.groupBy(aside, (name) => name.split(".", 1)[0]!);
  const left = [...groups].map(([group, names]) => `${group} ${names.length}`);
  return [
    `${path}: ${counts}`,
    ...(problems.length > 0 ? [someOf(problems)] : []),
    ...(left.length > 0 ? [`left aside: ${left.slice(0, 12).join(", ")}`] : []),
  ].join("; ");
}
