/** `deno task weights`: published weights of other projects into the cache. @module */

import { UserError } from "../errors.ts";
import { printResult, type Reporter } from "../log.ts";
import { adopt, obtain } from "../pretrained/obtain.ts";
import { FOLDER_VARIABLE, MIRROR_VARIABLE, pathOf, sizeOf } from "../pretrained/store.ts";
import { PRETRAINED, type PretrainedFile } from "../pretrained/table.ts";

/** What the command line says. */
export interface WeightsCommand {
  /** Names of the table, and paths of files at hand; none for every name. */
  readonly wanted: readonly string[];
  /** Whether to say only what is there. */
  readonly list: boolean;
  /** The cache. */
  readonly folder: string;
  /** A URL or a folder that has the files under the same names. */
  readonly mirror: string | undefined;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Share of a file after which progress is told. */
const PROGRESS_STEP = 0.1;

/**
 * Brings published weights into the cache.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If some cannot be had: the message names each file and where to put it.
 */
export async function runWeights(command: WeightsCommand): Promise<number> {
  const { wanted, list, folder, reporter } = command;
  const known = new Map<string, PretrainedFile>(Object.entries(PRETRAINED));
  if (list) {
    for (const file of known.values()) printResult(await lineOf(file, folder));
    return 0;
  }
  for (const path of wanted.filter((name) => !known.has(name))) {
    if (await sizeOf(path) === undefined) {
      throw new UserError(
        `Cannot take ${path}: expected a file or one of ${
          [...known.keys()].join(", ")
        }, found neither`,
      );
    }
    reporter.info(`${path} is ${(await adopt(path, folder)).name}`);
  }
  const names = wanted.filter((name) => known.has(name));
  const files = wanted.length === 0 ? [...known.values()] : names.map((name) => known.get(name)!);
  const failures: { file: PretrainedFile; reason: string }[] = [];
  for (const file of files) {
    try {
      await obtain(file, { ...command, onProgress: progressOf(file, reporter) });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      reporter.info(error.message);
      failures.push({ file, reason: error.message });
    }
  }
  for (const file of known.values()) printResult(await lineOf(file, folder));
  if (failures.length > 0) throw missing(failures.map(({ file }) => file), files.length, folder);
  return 0;
}

/** Says what is missing, and what a person can do about it. */
function missing(files: readonly PretrainedFile[], wanted: number, folder: string): UserError {
  const lines = files.map((file) =>
    `  ${pathOf(file, folder)}\n    from ${file.url}, SHA-256 ${file.sha256}`
  );
  return new UserError(
    `Cannot fetch ${files.length} of ${wanted} files: expected a connection to where they are published, found what is said above. ` +
      `Put each file where it belongs, or run deno task weights FILE ... on files at hand, or name a folder or URL that has them in ${MIRROR_VARIABLE}; ${FOLDER_VARIABLE} names another folder:\n${
        lines.join("\n")
      }`,
  );
}

async function lineOf(file: PretrainedFile, folder: string): Promise<string> {
  const path = pathOf(file, folder);
  const [bytes, part] = [await sizeOf(path), await sizeOf(`${path}.part`)];
  const size = (count: number): string =>
    count < 2 ** 20 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 2 ** 20).toFixed(1)} MiB`;
  const state = bytes !== undefined
    ? size(bytes)
    : part !== undefined
    ? `${size(part)} of about ${file.mebibytes} MiB`
    : "missing";
  return `${file.name.padEnd(11)} ${state.padStart(24)}  ${path}  ${file.purpose}`;
}

function progressOf(
  { name }: PretrainedFile,
  reporter: Reporter,
): (bytes: number, total: number | undefined) => void {
  let told = 0;
  return (bytes, total) => {
    if (total === undefined || bytes < told + PROGRESS_STEP * total) return;
    told = bytes;
    reporter.info(`${name}: ${Math.floor((100 * bytes) / total)} % of ${total} bytes`);
  };
}
