/**
 * Command-line overrides, `key.path=value`: where they go in a configuration, and in which of two.
 *
 * @module
 */
import { parse } from "@std/yaml";
import { UserError } from "../errors.ts";
import { isMapping } from "./field.ts";
import { nearest } from "./nearest.ts";
import { runSchema } from "./run_schema.ts";

/** A configuration file's content before it is checked. */
export interface ConfigSource {
  /** Name of the file. */
  readonly file: string;
  /** The parsed YAML. */
  readonly tree: unknown;
}

/** Path elements that may be left out. */
const OPTIONAL_ELEMENTS: ReadonlySet<string> = new Set(["init_args", "params"]);

const TRAIN_PATH = "data.init_args.train";

/** Places of a data set, where a text that is no mapping is taken literally: a path may look like any YAML. */
const DATASET_PATHS: ReadonlySet<string> = new Set([
  TRAIN_PATH,
  "data.init_args.validation",
  "data.init_args.test",
]);

/** An override's two sides. */
interface Override {
  readonly key: string;
  readonly value: string;
}

function splitOverride(override: string): Override {
  const cut = override.indexOf("=");
  const key = override.slice(0, cut).trim();
  if (cut < 1 || key === "") {
    throw new UserError(
      `Cannot read override ${override}: expected key.path=value, as in trainer.max_steps=100`,
    );
  }
  return { key, value: override.slice(cut + 1).trim() };
}

function shortForm(path: string): string {
  return path.split(".").filter((element) => !OPTIONAL_ELEMENTS.has(element)).join(".");
}

function schemaPaths(tree: unknown): string[] {
  return Array.from(runSchema.entries(tree), (entry) => entry.path.join("."));
}

/** Paths of the schema that a typed key may mean: itself, or those that only have optional elements more. */
function matches(key: string, paths: readonly string[]): string[] {
  if (paths.includes(key)) return [key];
  const elements = key.split(".");
  return paths.filter((path) => {
    const given = path.split(".");
    let matched = 0;
    for (const element of given) {
      if (element === elements[matched]) matched++;
      else if (!OPTIONAL_ELEMENTS.has(element)) return false;
    }
    return matched === elements.length && given.at(-1) === elements.at(-1);
  });
}

function unknownKey(key: string, source: string, paths: readonly string[]): UserError {
  const leaf = key.split(".").at(-1);
  const sameLeaf = paths.filter((path) => path.split(".").at(-1) === leaf);
  const suggestion = nearest(
    shortForm(key),
    (sameLeaf.length > 0 ? sameLeaf : paths).map(shortForm),
  );
  return new UserError(
    `Cannot apply override ${key}: unknown key in ${source}, the nearest is ${suggestion}`,
  );
}

function parseValue({ key, value }: Override): unknown {
  try {
    return parse(value);
  } catch (cause) {
    throw new UserError(`Cannot apply override ${key}: expected a YAML value, found ${value}`, {
      cause,
    });
  }
}

/** A copy of a tree with one value replaced; mappings are made where there is none. */
function withValue(tree: unknown, path: readonly string[], value: unknown): unknown {
  const [first, ...rest] = path;
  if (first === undefined) return value;
  const mapping = isMapping(tree) ? tree : {};
  return { ...mapping, [first]: withValue(mapping[first], rest, value) };
}

function valueAt(tree: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((node, key) => isMapping(node) ? node[key] : undefined, tree);
}

/**
 * Replaces the short form of a data set: a text where a class and its arguments would stand.
 *
 * "openmoji" is the embedded data set, any other text a `.npz` file or a folder of images. Validation and test sets that are not given
 * are taken from the same images.
 *
 * @param tree A parsed configuration.
 * @returns The same with the class written out.
 */
export function expandDatasets(tree: unknown): unknown {
  let expanded = tree;
  for (const part of ["train", "validation", "test"]) {
    const path = ["data", "init_args", part];
    const value = valueAt(expanded, path);
    if (typeof value === "string") expanded = withValue(expanded, path, datasetTree(value));
  }
  return expanded;
}

function datasetTree(name: string): unknown {
  if (name.toLowerCase() === "openmoji") return { target: "tessera.data.OpenMoji" };
  const target = `tessera.data.${name.toLowerCase().endsWith(".npz") ? "Npz" : "ImageFolder"}`;
  return { target, params: { path: name } };
}

/** `data.train=…` replaces all images at once; their size stays as the file says. */
function withTrainingData(tree: unknown, name: string): unknown {
  const dataset = datasetTree(name);
  const previous = valueAt(tree, ["data", "init_args", "train", "params", "size"]);
  const sized = previous === undefined ? dataset : withValue(dataset, ["params", "size"], previous);
  return ["validation", "test"].reduce(
    (result, part) => withValue(result, ["data", "init_args", part], null),
    withValue(tree, TRAIN_PATH.split("."), sized),
  );
}

function applyOne(source: ConfigSource, override: Override): unknown {
  const { tree, file } = source;
  const paths = schemaPaths(tree);
  const [path, ...others] = matches(override.key, paths);
  if (path === undefined) throw unknownKey(override.key, file, paths);
  if (others.length > 0) {
    throw new UserError(
      `Cannot apply override ${override.key}: expected one key, found ${
        [path, ...others].join(" and ")
      }`,
    );
  }
  const literal = DATASET_PATHS.has(path) && !/^(\{.*|null|)$/s.test(override.value);
  if (!literal) return withValue(tree, path.split("."), parseValue(override));
  if (path === TRAIN_PATH) return withTrainingData(tree, override.value);
  return withValue(tree, path.split("."), override.value);
}

/**
 * Applies overrides one after the other.
 *
 * @param source A parsed configuration; not changed.
 * @param overrides Texts `key.path=value`, the value in YAML; `init_args` and `params` may be left out of the path.
 * @returns The changed tree.
 * @throws {UserError} If an override is no such text, or its key is unknown or ambiguous.
 */
export function applyOverrides(source: ConfigSource, overrides: readonly string[]): unknown {
  return overrides.map(splitOverride).reduce(
    (tree, override) => applyOne({ ...source, tree }, override),
    source.tree,
  );
}

/** One thing for each stage. */
export interface PerStage<T> {
  /** Of stage I. */
  readonly tokenizer: T;
  /** Of stage II. */
  readonly transformer: T;
}

/** Keys that mean both stages when they have no prefix. */
const SHARED_ROOTS: ReadonlySet<string> = new Set(["data", "trainer", "seed_everything"]);

/**
 * Divides the overrides of a command that trains both stages.
 *
 * `tokenizer.` or `transformer.` in front means that stage only. Without it `data.*`, `trainer.*` and `seed_everything`
 * mean both, any other key the stage that alone has it.
 *
 * @param overrides Texts `key.path=value`.
 * @param sources The parsed configurations.
 * @returns The overrides of each stage, in their order and without prefix.
 * @throws {UserError} If no stage has the key, or both have it and it must be prefixed.
 */
export function distributeOverrides(
  overrides: readonly string[],
  sources: PerStage<ConfigSource>,
): PerStage<string[]> {
  const result = { tokenizer: [] as string[], transformer: [] as string[] };
  const paths = {
    tokenizer: schemaPaths(sources.tokenizer.tree),
    transformer: schemaPaths(sources.transformer.tree),
  };
  for (const override of overrides) {
    const { key } = splitOverride(override);
    const [root = ""] = key.split(".");
    const rest = override.slice(root.length + 1);
    if (root === "tokenizer" || root === "transformer") {
      result[root].push(rest);
      continue;
    }
    const inTokenizer = matches(key, paths.tokenizer).length > 0;
    const inTransformer = matches(key, paths.transformer).length > 0;
    if (!inTokenizer && !inTransformer) {
      const files = `${sources.tokenizer.file} and ${sources.transformer.file}`;
      throw unknownKey(key, files, [...paths.tokenizer, ...paths.transformer]);
    }
    if (inTokenizer && inTransformer && !SHARED_ROOTS.has(root)) {
      throw new UserError(
        `Cannot apply override ${key}: expected tokenizer.${key} or transformer.${key}, as both stages have this key`,
      );
    }
    if (inTokenizer) result.tokenizer.push(override);
    if (inTransformer) result.transformer.push(override);
  }
  return result;
}
