/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** Web Worker that prepares image files: receives jobs, answers each with its outcome. @module */

import { prepareFile, type PrepareJob } from "./prepare.ts";

self.onmessage = (event: MessageEvent<PrepareJob>): void => {
  const outcome = prepareFile(event.data);
  self.postMessage(outcome, "pixels" in outcome ? [outcome.pixels.buffer] : []);
};
