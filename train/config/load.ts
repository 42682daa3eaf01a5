/**
 * Reads a configuration file with its overrides into a checked, complete configuration.
 *
 * @module
 */
import { parse, stringify } from "@std/yaml";
import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import { type CheckOptions, DEFAULT_CODEBOOK_BUDGET_BYTES } from "./check.ts";
import { checkTokenizerRun, checkTransformerRun, withValidation } from "./complete.ts";
import type { Place } from "./field.ts";
import { lightningLayout } from "./older_layout.ts";
import { applyOverrides, type ConfigSource, expandDatasets } from "./overrides.ts";
import { runSchema } from "./run_schema.ts";
import {
  isTokenizerRun,
  isTransformerRun,
  type RunConfig,
  type TokenizerRunConfig,
  type TransformerRunConfig,
} from "./types.ts";

/** Options of {@linkcode resolveConfig}. */
export interface ResolveOptions {
  /** Texts `key.path=value`, applied in their order. */
  readonly overrides?: readonly string[];
  /** Bytes that a codebook with gradient, moments and average may take; default 8 GiB. */
  readonly codebookBudgetBytes?: number;
}

/** Options of {@linkcode loadConfig}. */
export interface LoadOptions extends ResolveOptions {
  /** The YAML file. */
  readonly file: string;
}

/** A configuration that can be used. */
export interface LoadedConfig<Config extends RunConfig = RunConfig> {
  /** The configuration with every default filled in. */
  readonly config: Config;
  /** Name of the file it came from. */
  readonly file: string;
  /** What the user should know, each one sentence. */
  readonly warnings: readonly string[];
  /** The complete configuration as YAML, which loads to the same configuration. */
  toYaml(): string;
}

/**
 * Parses the text of a configuration file.
 *
 * @param text YAML.
 * @param file Name of the file, for messages.
 * @returns Its content, not yet checked.
 * @throws {UserError} If the text is not YAML; the message shows line and column.
 */
export function parseConfig(text: string, file: string): ConfigSource {
  try {
    return { file, tree: expandDatasets(lightningLayout(parse(text))) };
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new UserError(`Cannot read config ${file}: expected YAML, found ${cause.message}`, {
      cause,
    });
  }
}

/**
 * Reads a configuration file.
 *
 * @param file The YAML file.
 * @returns Its content, not yet checked.
 * @throws {UserError} If the file cannot be read or is not YAML.
 */
export async function readConfig(file: string): Promise<ConfigSource> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    throw fileError(`read config ${file}`, cause);
  }
  return parseConfig(text, file);
}

/**
 * Writes a configuration as YAML, with every default.
 *
 * @param config The configuration.
 * @returns Text that loads to the same configuration.
 */
export function configToYaml(config: RunConfig): string {
  return stringify(runSchema.write(config), { lineWidth: 100, useAnchors: false });
}

function crossCheck(config: RunConfig, options: CheckOptions): string[] {
  if (isTokenizerRun(config)) return checkTokenizerRun(config, options);
  return isTransformerRun(config) ? checkTransformerRun(config, options) : [];
}

/**
 * Checks a parsed configuration and fills in the defaults.
 *
 * @param source The parsed file; not changed.
 * @param options Overrides, and the budget for the codebook.
 * @returns The configuration.
 * @throws {UserError} If a key is unknown, a value has the wrong type or range, or sizes do not fit each other.
 */
export function resolveConfig(source: ConfigSource, options: ResolveOptions = {}): LoadedConfig {
  const { overrides = [], codebookBudgetBytes = DEFAULT_CODEBOOK_BUDGET_BYTES } = options;
  const tree = expandDatasets(applyOverrides(source, overrides));
  const file = overrides.length > 0 ? `${source.file} (with overrides)` : source.file;
  const place: Place = { file, path: "", ignored: new Set(), notes: new Set() };
  const config = withValidation(runSchema.read(tree, place));
  const warnings = crossCheck(config, { place, codebookBudgetBytes });
  warnings.unshift(...place.notes);
  if (place.ignored.size > 0) {
    warnings.unshift(
      `Ignored options of ${source.file} without a meaning here: ${[...place.ignored].join(", ")}`,
    );
  }
  return { config, file: source.file, warnings, toYaml: () => configToYaml(config) };
}

/**
 * Reads a configuration file of either stage.
 *
 * @param options File, overrides, budget for the codebook.
 * @returns The configuration, warnings, and its YAML.
 * @throws {UserError} If the file cannot be read or its content is wrong.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  return resolveConfig(await readConfig(options.file), options);
}

/**
 * Takes a loaded configuration as one of stage I.
 *
 * @param loaded A configuration of either stage.
 * @returns The same.
 * @throws {UserError} If it trains a transformer.
 */
export function asTokenizer(loaded: LoadedConfig): LoadedConfig<TokenizerRunConfig> {
  const { config } = loaded;
  if (isTokenizerRun(config)) return { ...loaded, config };
  throw new UserError(
    `Cannot read config ${loaded.file}: expected model.class_path tessera.models.IBQ, found ${config.model.target}`,
  );
}

/**
 * Takes a loaded configuration as one of stage II.
 *
 * @param loaded A configuration of either stage.
 * @returns The same.
 * @throws {UserError} If it trains a tokenizer.
 */
export function asTransformer(loaded: LoadedConfig): LoadedConfig<TransformerRunConfig> {
  const { config } = loaded;
  if (isTransformerRun(config)) return { ...loaded, config };
  throw new UserError(
    `Cannot read config ${loaded.file}: expected model.class_path tessera.models.ClassConditionalTransformer, found ${config.model.target}`,
  );
}
