/** The layout of taming-transformers' configurations, brought to Lightning's. @module */

import { isMapping } from "./field.ts";

/**
 * Writes `target` and `params` of model and data as `class_path` and `init_args`.
 *
 * @param tree A parsed configuration.
 * @returns The same in the layout of the others; what stands beside the pair at the model goes to its arguments.
 */
export function lightningLayout(tree: unknown): unknown {
  if (!isMapping(tree)) return tree;
  const { model, data } = tree;
  return {
    ...tree,
    ...(isMapping(model) && "target" in model && { model: asInstance(model) }),
    ...(isMapping(data) && "target" in data && { data: asInstance(data) }),
  };
}

function asInstance(pair: Readonly<Record<string, unknown>>): unknown {
  const { target, params, ...others } = pair;
  return { class_path: target, init_args: isMapping(params) ? { ...params, ...others } : params };
}
