/**
 * Turns what the operating system says about a file into one clear message.
 *
 * @module
 */
import { UserError } from "../errors.ts";

/** What Deno calls an error of the operating system, and what a reader calls it. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ["NotFound", "no such file or folder"],
  ["PermissionDenied", "permission denied"],
  ["NotCapable", "Deno runs without the permission for it"],
  ["AlreadyExists", "the file exists already"],
  ["IsADirectory", "it is a folder"],
  ["NotADirectory", "a part of the path is not a folder"],
  ["FilesystemLoop", "too many links"],
]);

/** Text of the cause of a failed file operation, without operation names and error numbers. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const known = REASONS.get(cause.name);
  if (known !== undefined) return known;
  const text = cause.message.replace(/ \(os error \d+\).*$/s, "");
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/**
 * Makes the error for a failed file operation: `Cannot write runs/a.safetensors: no space left on device`.
 *
 * @param action What was tried, with the file: "write runs/a.safetensors".
 * @param cause What the operating system answered; kept as `cause` for `--debug`.
 * @returns A UserError that names the file and the cause.
 */
export function fileError(action: string, cause: unknown): UserError {
  return new UserError(`Cannot ${action}: ${reasonOf(cause)}`, { cause });
}
