/**
 * A subject for the tests of the bench, whose only argument says how it answers: right, wrong, not finite, failing, unsupported,
 * ending or silent.
 *
 * @module
 */

import { serve, Unsupported } from "./protocol.ts";

const behavior = Deno.args[0] ?? "right";
const NUMBERS = [1, 2, 3];
const SILENCE_MS = 600_000;

await serve(() =>
  Promise.resolve({
    name: behavior,
    version: "1",
    adapter: "none",
    open: () => {
      console.log("what a library prints is no answer");
      if (behavior === "failing") throw new Error("no such device");
      if (behavior === "unsupported") throw new Unsupported("has no gradients");
      if (behavior === "ending") Deno.exit(3);
      const numbers = Float32Array.from(NUMBERS);
      if (behavior === "wrong") numbers[1] = 2.5;
      if (behavior === "not finite") numbers[2] = NaN;
      return Promise.resolve({
        run: () => new Promise<void>((resolve) => setTimeout(resolve, 160)),
        result: () =>
          new Promise((resolve) =>
            setTimeout(() => resolve(numbers), behavior === "silent" ? SILENCE_MS : 0)
          ),
        close: () => {},
      });
    },
  })
);
