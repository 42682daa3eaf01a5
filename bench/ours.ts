/** The engine as a subject of the bench: `deno run -A bench/ours.ts`, asked by bench/compare.ts. @module */

import { Gpu } from "../kernels/gpu.ts";
import { openOperation } from "./ours_operations.ts";
import { openModel } from "./ours_models.ts";
import { serve } from "./protocol.ts";
import configuration from "../deno.json" with { type: "json" };

if (import.meta.main) {
  await serve(async () => {
    const gpu = await Gpu.open();
    return {
      name: "ours",
      version: configuration.version,
      adapter: gpu.adapter.name,
      open: async ({ operation }, folder) =>
        operation.kind === "model"
          ? await openModel(gpu, operation.model, folder)
          : openOperation(gpu, operation),
    };
  });
}
