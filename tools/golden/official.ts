/**
 * Checks `official_<model>_<size>.safetensors`: what the reference computes at an official size with weights from a formula.
 *
 * Any size and any salt works: both are in the file's configuration.
 *
 * @module
 */

import type { FileCheck } from "./file_check.ts";
import { textOf } from "./json.ts";
import { checkOfficialGpt } from "./official_gpt.ts";
import { checkOfficialTokenizer } from "./official_tokenizer.ts";

/**
 * Compares everything in the file.
 *
 * @param context Device and file.
 * @throws {SyntaxError} If the file is of another kind.
 */
export const checkOfficial: FileCheck = async (context) => {
  const kind = textOf(context.file.config.kind, "kind");
  if (kind === "tokenizer") return await checkOfficialTokenizer(context);
  if (kind === "gpt") return await checkOfficialGpt(context);
  throw new SyntaxError(`Cannot check an official size: expected tokenizer or gpt, found ${kind}`);
};
