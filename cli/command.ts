/** What a command of the command line is, and how its arguments are read. @module */

import { parseArgs } from "@std/cli/parse-args";
import { UserError } from "../train/errors.ts";
import { Reporter } from "../train/log.ts";

/** One command of the command line. */
export interface Command {
  /** Shown by --help below the command's summary: usage and options. */
  readonly help: string;
  /** Options that take a value. */
  readonly values: readonly string[];
  /** Options that take none. */
  readonly flags: readonly string[];
  /** Options that may be given several times. */
  readonly lists?: readonly string[];
  /** Other names of options, such as a letter, and the options' own. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Rewrites arguments of the reference's command line before they are read. */
  readonly rewrite?: (args: readonly string[]) => string[];
  /** Runs it; returns the exit code. */
  readonly run: (input: CommandInput) => Promise<number>;
}

/** What a command gets. */
export interface CommandInput {
  /** Values by option name. */
  readonly values: Readonly<Record<string, string | undefined>>;
  /** Flags by option name. */
  readonly flags: Readonly<Record<string, boolean>>;
  /** Lists by option name. */
  readonly lists: Readonly<Record<string, readonly string[]>>;
  /** What is left: overrides or files. */
  readonly rest: readonly string[];
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Gives options their own names: `--cfg_scale` is `--cfg-scale`, and `-k` what the command says. */
function ownNames(args: readonly string[], aliases: Readonly<Record<string, string>>): string[] {
  return args.map((arg) => {
    const [, given, rest = ""] = /^--?([A-Za-z][\w-]*)(=.*)?$/s.exec(arg) ?? [];
    if (given === undefined) return arg;
    const name = given.replaceAll("_", "-");
    if (Object.hasOwn(aliases, name)) return `--${aliases[name]}${rest}`;
    return arg.startsWith("--") ? `--${name}${rest}` : arg;
  });
}

/**
 * Reads the arguments of a command.
 *
 * @param name The command's name.
 * @throws {UserError} For an option that it does not have, or one without its value.
 */
export function parseCommand(
  name: string,
  command: Command,
  args: readonly string[],
): CommandInput {
  const known = [...command.values, ...command.flags, "debug", "help"];
  const { lists = [], aliases = {}, rewrite = (args) => [...args] } = command;
  const parsed = parseArgs(ownNames(rewrite(args), aliases), {
    string: [...command.values, "_"],
    boolean: [...command.flags, "debug", "help"],
    collect: [...lists],
    unknown: (argument, key) => {
      if (key === undefined) return true;
      throw new UserError(
        `Cannot run ${name}: expected one of ${
          known.map((option) => `--${option}`).join(", ")
        }, found "${argument}"`,
      );
    },
  });
  const values: Record<string, string | undefined> = {};
  const collected: Record<string, string[]> = {};
  for (const option of command.values) {
    const value: unknown = parsed[option];
    if (value === "" || (Array.isArray(value) && value.includes(""))) {
      throw new UserError(`Cannot run ${name}: expected a value after --${option}, found none`);
    }
    if (lists.includes(option)) {
      collected[option] = Array.isArray(value) ? value.map(String) : [];
    } else if (value !== undefined) values[option] = String(value);
  }
  const flags = Object.fromEntries(
    [...command.flags, "debug", "help"].map((flag) => [flag, parsed[flag] === true]),
  );
  const reporter = new Reporter({ debug: flags.debug ?? false });
  return { values, flags, lists: collected, rest: parsed._.map(String), reporter };
}
