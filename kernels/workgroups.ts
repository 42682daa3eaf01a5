/** How many workgroups a dispatch has. @module */

/** Size of a dispatch, in invocations or in workgroups. */
export interface DispatchSize {
  /** Invocations wanted: workgroups of `THREADS`, in a second dimension where the first is full (see `flatIndex` in common.wgsl). */
  threads?: number;
  /** Workgroups by dimension; instead of `threads`. */
  workgroups?: readonly [number, number?, number?];
}

/**
 * Counts workgroups.
 *
 * @param operation Named in errors.
 * @param size What is wanted.
 * @param options `threads`: invocations of a workgroup, undefined where the kernel has no `THREADS`; `limit`: the adapter's
 * most workgroups of a dimension.
 * @returns Workgroups by dimension.
 * @throws {TypeError} If no size is given, or invocations for a kernel without `THREADS`.
 * @throws {RangeError} If a dimension passes the limit.
 */
export function workgroupsOf(
  operation: string,
  size: DispatchSize,
  { threads, limit }: { threads: number | undefined; limit: number },
): [number, number, number] {
  let counts: [number, number, number];
  if (size.threads !== undefined) {
    if (threads === undefined) {
      throw new TypeError(
        `Cannot run ${operation}: expected an override THREADS or a number of workgroups, found threads`,
      );
    }
    const groups = Math.ceil(size.threads / threads);
    const rows = Math.max(1, Math.ceil(groups / limit));
    counts = [Math.ceil(groups / rows), groups === 0 ? 0 : rows, 1];
  } else if (size.workgroups) {
    counts = [size.workgroups[0], size.workgroups[1] ?? 1, size.workgroups[2] ?? 1];
  } else {
    throw new TypeError(`Cannot run ${operation}: expected threads or workgroups, found neither`);
  }
  if (counts.some((count) => !(count <= limit))) {
    throw new RangeError(
      `Cannot run ${operation}: expected at most ${limit} workgroups a dimension, found ${counts}`,
    );
  }
  return counts;
}
