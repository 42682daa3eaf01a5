/** The error for what the user typed or gave, as opposed to a defect of the program. @module */

/**
 * Something the user typed or a file he gave is wrong: a flag, a configuration key, an image folder, a checkpoint.
 *
 * The command line prints the message alone, without a stack trace, and exits with {@linkcode USER_ERROR_EXIT_CODE}.
 * The text follows "Cannot <action> …: expected <x>, found <y>" and names the thing.
 */
export class UserError extends Error {
  /** The name shown before the message when a stack trace is asked for. */
  override readonly name = "UserError";
}

/** Exit code of the command line after a {@linkcode UserError}. */
export const USER_ERROR_EXIT_CODE = 2;
