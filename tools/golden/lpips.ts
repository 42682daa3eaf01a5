/** Checks `lpips.safetensors`: distances, their gradient, and the features behind them. @module */

import { Lpips } from "../../models/lpips.ts";
import { sum } from "../../nn/reduce.ts";
import { Tape } from "../../nn/tape.ts";
import { largestDifference } from "./difference.ts";
import { type CheckContext, loadState, readParameter } from "./file_check.ts";
import { type JsonObject, numberOf, numbersOf, objectOf } from "./json.ts";
import { compareTensor, fingerprint, IMAGE, toFile, upload } from "./layout.ts";

async function checkCase(
  { gpu, file }: CheckContext,
  model: Lpips,
  name: string,
): Promise<void> {
  using tape = new Tape(gpu);
  const x = await upload(tape, file, { name: `${name}.x`, order: IMAGE });
  const y = await upload(tape, file, { name: `${name}.y`, order: IMAGE });
  const values = model.forward(x, y);
  await compareTensor(file, values, { name: `${name}.value`, group: `${name} values` });
  const layers: Float32Array[] = [];
  for (const layer of model.layers(x, y)) layers.push(await layer.read());
  const table = Array.from(
    { length: values.size },
    (_, image) => layers.map((layer) => layer[image] ?? NaN),
  );
  await file.compare(`${name}.per_layer`, table.flat(), { group: `${name} values` });

  const features: number[] = [];
  for (const [i, feature] of model.features(x).entries()) {
    const data = toFile(await feature.read(), feature.shape, IMAGE);
    features.push(...fingerprint(`relu${i}`, data));
  }
  await file.compare(`${name}.features_fp`, features, { group: `${name} features` });

  await compareTensor(file, tape.grad(sum(values), [y]).get(y), {
    name: `${name}.grad.y`,
    order: IMAGE,
    group: `${name} grad`,
  });
}

/** A case whose weights are in the file. */
async function checkStored(context: CheckContext, name: string, config: JsonObject): Promise<void> {
  const widths = numbersOf(config.channels, `${name}.channels`);
  using model = new Lpips(context.gpu, { widths });
  await loadState(model, context.file, { prefix: `${name}.state.`, group: `${name} state` });
  await checkCase(context, model, name);
}

/** The first hashed weights of some parameters, which the file has by name. */
async function checkHash(
  { file }: CheckContext,
  model: Lpips,
  check: JsonObject,
): Promise<void> {
  for (const [name, parameter] of model.namedParameters()) {
    if (!(name in check)) continue;
    const expected = numbersOf(check[name], `hashed_check.${name}`);
    const found = (await readParameter(parameter)).subarray(0, expected.length);
    file.check("hashed weights", largestDifference(found, expected), 0);
  }
}

/**
 * Compares every pair of images of the file.
 *
 * @param context Device and file.
 */
export async function checkLpips(context: CheckContext): Promise<void> {
  const { gpu, file } = context;
  const { hash_salt: salt, hashed_check: check, ...cases } = file.config;
  using hashed = new Lpips(gpu, { salt: numberOf(salt, "hash_salt") });
  await checkHash(context, hashed, objectOf(check, "hashed_check"));
  for (const [name, value] of Object.entries(cases)) {
    const config = objectOf(value, name);
    if ("channels" in config) await checkStored(context, name, config);
    else await checkCase(context, hashed, name);
  }
}
