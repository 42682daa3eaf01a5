/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** Web Worker that prepares image files: receives jobs, answers each with its outcome, in order. @module */

import { prepareFile, type PrepareJob } from "./prepare.ts";

let turn: Promise<void> = Promise.resolve();

self.onmessage = (event: MessageEvent<PrepareJob>): void => {
  turn = turn.then(async () => {
    const outcome = await prepareFile(event.data);
    self.postMessage(outcome, "pixels" in outcome ? [outcome.pixels.buffer] : []);
  });
};
