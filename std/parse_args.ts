/**
 * Command-line arguments: a stand-in for `@std/cli/parse-args` 1 over minimist, from which the original descends.
 *
 * To use the original, point the import map's `@std/cli/parse-args` to `jsr:@std/cli@1/parse-args`.
 *
 * @module
 */

// @ts-types="@types/minimist"
import minimist from "minimist";

/** Options of {@linkcode parseArgs}; the type parameters are the names of the flags. */
export interface ParseOptions<
  B extends string = string,
  S extends string = string,
  C extends string = string,
> {
  /** Flags without a value; false unless given. */
  boolean?: readonly B[];
  /** Flags whose value stays text. */
  string?: readonly S[];
  /** Flags that may repeat: a list of their values. Of other flags the last wins. */
  collect?: readonly C[];
  /** Flags that `--no-x` turns off. */
  negatable?: readonly string[];
  /** Values of flags that are not given. */
  default?: Readonly<Record<string, unknown>>;
  /** Further names of flags. */
  alias?: Readonly<Record<string, string | readonly string[]>>;
  /** Whether everything after the first positional argument is positional. */
  stopEarly?: boolean;
  /** Whether what follows `--` goes to the key `--` instead of `_`. */
  "--"?: boolean;
  /** Called with each argument that no option names; it is dropped if the answer is false. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** The parsed arguments: declared flags with their types, other flags, and positional arguments in `_`. */
export type Args<B extends string = never, S extends string = never, C extends string = never> =
  & { [K in B]: boolean }
  & { [K in Exclude<S, C>]?: string }
  & { [K in C]: string[] }
  & { _: (string | number)[]; [key: string]: unknown };

/** `--no-x` of a flag that cannot be negated is a flag named `no-x`; minimist would negate `x`. */
function protectNegations(args: readonly string[], negatable: readonly string[]): string[] {
  const end = args.indexOf("--");
  return args.map((arg, index) => {
    const literal = end >= 0 && index > end;
    const name = /^--no-([^=]+)$/.exec(arg)?.[1];
    return literal || name === undefined || negatable.includes(name) ? arg : `${arg}=true`;
  });
}

function namesOf(
  name: string,
  alias: Readonly<Record<string, string | readonly string[]>>,
): string[] {
  const groups = Object.entries(alias).map(([key, names]) => [key, ...[names].flat()].map(String));
  return [name, ...groups.filter((group) => group.includes(name)).flat()];
}

/** Of repeated flags the last wins, in nested keys (`--a.b`) too. */
function keepLast(value: unknown): unknown {
  if (Array.isArray(value)) return value.at(-1);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, keepLast(item)]));
}

/**
 * Parses command-line arguments.
 *
 * @param args The arguments, as in `Deno.args`.
 * @param options The flags.
 * @returns Values by flag, positional arguments in `_`.
 */
export function parseArgs<
  B extends string = never,
  S extends string = never,
  C extends string = never,
>(args: readonly string[], options: ParseOptions<B, S, C> = {}): Args<B, S, C> {
  const { alias = {}, collect = [], negatable = [], unknown, default: defaults = {} } = options;
  const parsed: Record<string, unknown> & { _: (string | number)[] } = minimist(
    protectNegations(args, negatable),
    {
      boolean: [...(options.boolean ?? [])],
      string: [...(options.string ?? [])],
      alias: Object.fromEntries(Object.entries(alias).map(([key, names]) => [key, [names].flat()])),
      default: defaults,
      stopEarly: options.stopEarly ?? false,
      "--": options["--"] ?? false,
      ...(unknown === undefined ? {} : {
        unknown: (arg: string) => {
          const [, key, value] = /^--?([^=]+)(?:=(.*))?$/s.exec(arg) ?? [];
          return unknown(arg, key, value) !== false;
        },
      }),
    },
  );
  const collected = new Set(collect.flatMap((name) => namesOf(name, alias)));
  for (const [key, value] of Object.entries(parsed)) {
    if (key === "_" || key === "--" || value === defaults[key]) continue;
    if (/^no-/.test(key) && value === "true") parsed[key] = true;
    else if (!collected.has(key)) parsed[key] = keepLast(value);
  }
  for (const key of collected) parsed[key] = [parsed[key] ?? []].flat();
  return parsed as Args<B, S, C>;
}
