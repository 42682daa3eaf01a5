/**
 * Configurations: the reference's YAML files, checked key by key, with command-line overrides.
 *
 * @module
 */
export { completeTransformer, imageSize } from "./complete.ts";
export type { CompleteGptConfig, CompleteTransformer, TransformerContext } from "./complete.ts";
export { downsamplingFactor } from "./check.ts";
export {
  batchSizeOf,
  checkpointRetention,
  gradientClip,
  saveInterval,
  totalSteps,
  validationInterval,
  withBatchSize,
} from "./effective.ts";
export type { CheckpointRetention } from "./effective.ts";
export {
  asTokenizer,
  asTransformer,
  configToYaml,
  loadConfig,
  parseConfig,
  readConfig,
  resolveConfig,
} from "./load.ts";
export type { LoadedConfig, LoadOptions, ResolveOptions } from "./load.ts";
export type * from "./model_types.ts";
export { nearest } from "./nearest.ts";
export type { Instance } from "./object_field.ts";
export { distributeOverrides } from "./overrides.ts";
export type { ConfigSource, PerStage } from "./overrides.ts";
export { isTokenizerRun, isTransformerRun } from "./types.ts";
export type * from "./types.ts";
