/**
 * YAML: a stand-in for `@std/yaml` 1 with its names and signatures, over js-yaml 4, whose port the original is.
 *
 * To use the original, point the import map's `@std/yaml` to `jsr:@std/yaml@1`.
 *
 * @module
 */

// @ts-types="@types/js-yaml"
import * as yaml from "js-yaml";

/** Names of the sets of tags that a text may use. */
export type SchemaType = "failsafe" | "json" | "core" | "default";

/** Options of {@linkcode parse}. */
export interface ParseOptions {
  /** The tags that are understood; `default` has merge keys, dates, sets and binary beside the core. */
  schema?: SchemaType;
  /** Whether the last of several equal keys wins; they are an error otherwise. */
  allowDuplicateKeys?: boolean;
  /** Called with each warning. */
  onWarning?(error: Error): void;
}

/** Options of {@linkcode stringify}. */
export interface StringifyOptions {
  /** Spaces per level, 2 by default. */
  indent?: number;
  /** Width at which long strings fold, 80 by default; -1 never folds. */
  lineWidth?: number;
  /** Whether keys are sorted, or the order to sort them in. */
  sortKeys?: boolean | ((a: string, b: string) => number);
  /** Level from which collections are written inline; -1, the default, never. */
  flowLevel?: number;
  /** Whether a value that occurs twice becomes an anchor and an alias, as by default. */
  useAnchors?: boolean;
}

const SCHEMAS: Record<SchemaType, yaml.Schema> = {
  failsafe: yaml.FAILSAFE_SCHEMA,
  json: yaml.JSON_SCHEMA,
  core: yaml.CORE_SCHEMA,
  default: yaml.DEFAULT_SCHEMA,
};

/**
 * Reads one YAML document.
 *
 * @param content The text.
 * @param options Schema and duplicate keys.
 * @returns The value; null for an empty text.
 * @throws {SyntaxError} If the text is not YAML; the message shows line and column.
 */
export function parse(content: string, options: ParseOptions = {}): unknown {
  const { schema = "default", allowDuplicateKeys = false, onWarning } = options;
  try {
    const value: unknown = yaml.load(content, {
      schema: SCHEMAS[schema],
      json: allowDuplicateKeys,
      ...(onWarning === undefined ? {} : { onWarning }),
    });
    return value ?? null;
  } catch (error) {
    if (!(error instanceof yaml.YAMLException)) throw error;
    throw new SyntaxError(error.message, { cause: error });
  }
}

/**
 * Writes a value as YAML.
 *
 * @param data The value: null, booleans, numbers, strings, dates, lists and plain objects.
 * @param options Layout.
 * @returns The text, with a line break at its end.
 * @throws {TypeError} If a value, such as a function, has no YAML form.
 */
export function stringify(data: unknown, options: StringifyOptions = {}): string {
  const { useAnchors = true, ...layout } = options;
  try {
    return yaml.dump(data, { ...layout, noRefs: !useAnchors });
  } catch (error) {
    if (!(error instanceof yaml.YAMLException)) throw error;
    throw new TypeError(error.message, { cause: error });
  }
}
