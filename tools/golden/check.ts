/** Checks the vector files of a folder against the engine. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import { UserError } from "../../train/errors.ts";
import { SafetensorsReader } from "../../train/files/safetensors.ts";
import { fileError } from "../../train/files/file_error.ts";
import { checkDiscriminator } from "./discriminator.ts";
import type { FileCheck } from "./file_check.ts";
import { checkGanStep } from "./gan_step.ts";
import { checkGpt } from "./gpt.ts";
import { parseJson } from "./json.ts";
import { checkLpips } from "./lpips.ts";
import { checkOfficial } from "./official.ts";
import { checkOps } from "./ops.ts";
import { checkOptim } from "./optim.ts";
import { checkPreprocess } from "./preprocess.ts";
import { checkQuantizer } from "./quantizer.ts";
import { checkTokenizer } from "./tokenizer.ts";
import { type Tolerances, tolerancesOf } from "./tolerances.ts";
import { type GroupResult, VectorFile } from "./vectors.ts";

const TOLERANCES = "tolerances.json";
const SUFFIX = ".safetensors";

/** Checks by name of the file. */
const CHECKS: ReadonlyMap<string, FileCheck> = new Map([
  ["ops", checkOps],
  ["quantizer", checkQuantizer],
  ["tokenizer", checkTokenizer],
  ["discriminator", checkDiscriminator],
  ["lpips", checkLpips],
  ["gan_step", checkGanStep],
  ["gpt", checkGpt],
  ["optim", checkOptim],
  ["preprocess", checkPreprocess],
]);

/** Files of which there is one for each official size. */
const OFFICIAL = /^official_/;

/** Files of parts that do not exist yet. */
const NOT_CHECKED: readonly RegExp[] = [/^metrics$/];

/** What became of one file. */
export interface FileResult {
  /** Its name without `.safetensors`. */
  name: string;
  /** Lines of the report; none if the file is not checked. */
  groups: GroupResult[];
  /** Whether the file was compared; false for files of parts that do not exist yet. */
  checked: boolean;
}

/** A folder of vectors. */
export class VectorFolder {
  /** The folder. */
  readonly path: string;
  /** Files with vectors, without `.safetensors`, in order. */
  readonly files: readonly string[];
  readonly #tolerances: ReadonlyMap<string, Tolerances>;

  private constructor(
    path: string,
    files: readonly string[],
    tolerances: ReadonlyMap<string, Tolerances>,
  ) {
    this.path = path;
    this.files = files;
    this.#tolerances = tolerances;
  }

  /**
   * Opens a folder.
   *
   * @param path The folder.
   * @returns The folder.
   * @throws {UserError} If it does not exist, holds no vectors, or has no tolerances for them.
   */
  static async open(path: string): Promise<VectorFolder> {
    const files: string[] = [];
    try {
      for await (const { name } of Deno.readDir(path)) {
        if (name.endsWith(SUFFIX)) files.push(name.slice(0, -SUFFIX.length));
      }
    } catch (cause) {
      throw fileError(`read ${path}`, cause);
    }
    if (files.length === 0) {
      throw new UserError(`Cannot check ${path}: expected ${SUFFIX} files, found none`);
    }
    // Official sizes have a tolerance of their own.
    const tolerances = files.every((name) => OFFICIAL.test(name))
      ? new Map<string, Tolerances>()
      : await readTolerances(`${path}/${TOLERANCES}`);
    return new VectorFolder(path, files.sort(), tolerances);
  }

  /**
   * Opens a file of the folder.
   *
   * @param name Its name without `.safetensors`.
   * @returns The open file.
   * @throws {UserError} If it does not exist or is no safetensors file.
   * @throws {SyntaxError} If its `config` is malformed.
   */
  async file(name: string): Promise<VectorFile> {
    const reader = await SafetensorsReader.open(`${this.path}/${name}${SUFFIX}`);
    try {
      return new VectorFile(reader, this.#tolerances.get(name + SUFFIX) ?? new Map());
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  /**
   * Checks one file.
   *
   * @param name Its name without `.safetensors`.
   * @param gpu The device.
   * @returns What agreed; a file that is unknown, malformed or lacks a tensor is one failed group.
   */
  async check(name: string, gpu: Gpu): Promise<FileResult> {
    if (NOT_CHECKED.some((pattern) => pattern.test(name))) {
      return { name, groups: [], checked: false };
    }
    const check = OFFICIAL.test(name) ? checkOfficial : CHECKS.get(name);
    const known = [...CHECKS.keys(), "official_<model>_<size>"].join(", ");
    if (!check) {
      return failed(name, `Cannot check ${name}${SUFFIX}: expected one of ${known}`);
    }
    try {
      using file = await this.file(name);
      await check({ gpu, file, folder: this.path, open: (other) => this.file(other) });
      return { name, groups: file.finish(), checked: true };
    } catch (error) {
      if (!isAboutTheFile(error)) throw error;
      return failed(name, error.message);
    }
  }
}

function failed(name: string, problem: string): FileResult {
  const group = { name: "file", error: Infinity, tolerance: 0, passed: false, problem };
  return { name, groups: [group], checked: true };
}

/** Whether an error says that a file, or what it holds, is not as expected. */
function isAboutTheFile(error: unknown): error is Error {
  return [UserError, SyntaxError, TypeError, RangeError].some((kind) => error instanceof kind);
}

async function readTolerances(path: string): Promise<Map<string, Tolerances>> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    throw fileError(`read ${path}`, cause);
  }
  try {
    return tolerancesOf(parseJson(text, path), path);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new UserError(cause.message, { cause });
  }
}
