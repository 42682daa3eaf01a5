/** Tests of the loss scale: when it shrinks and grows, and that it can be saved at any step. */

import { assertEquals, assertThrows } from "@std/assert";
import { LossScaler } from "./loss_scale.ts";

/** Runs steps whose outcomes are known one step late, as in training; gives the scale of each. */
function scalesOf(scaler: LossScaler, outcomes: readonly boolean[]): number[] {
  return outcomes.map((overflows) => {
    const { scale, finish } = scaler.begin();
    finish(overflows ? ["adam"] : []);
    return scale;
  });
}

Deno.test("LossScaler halves the scale of the next but one step after an overflow, once", () => {
  const scaler = new LossScaler();
  const outcomes = [false, true, true, true, false, false];
  // The third step ran with the scale that had failed already, so it does not halve again.
  assertEquals(scalesOf(scaler, outcomes), [65536, 65536, 65536, 32768, 32768, 16384]);
});

Deno.test("LossScaler names what has to be undone when it acts", () => {
  const scaler = new LossScaler();
  const undone = [["generator"], [], [], ["discriminator"], [], []].map((skipped) => {
    const step = scaler.begin();
    step.finish(skipped);
    return step.undone;
  });
  assertEquals(undone, [[], [], ["generator"], [], [], ["discriminator"]]);
});

Deno.test("LossScaler doubles the scale after 2000 steps in a row", () => {
  const scaler = new LossScaler();
  const clean = Array<boolean>(2001).fill(false);
  assertEquals(scalesOf(scaler, clean).at(-1), 65536);
  assertEquals(scalesOf(scaler, [false]), [131072]);
  const other = new LossScaler();
  scalesOf(other, [...clean.slice(0, 1000), true, ...clean.slice(0, 2000)]);
  assertEquals(scalesOf(other, [false, false]), [32768, 65536]);
});

Deno.test("LossScaler gives up at scale 1", () => {
  const scaler = new LossScaler();
  const outcomes: boolean[] = [];
  for (let step = 0; step < 40; step++) {
    outcomes.push(scaler.begin().finish(["adam"]));
  }
  // Sixteen halvings, two steps each; then a smaller scale is not left.
  assertEquals(outcomes.indexOf(false), 32);
  assertEquals(outcomes.slice(32), Array(8).fill(false));
  assertEquals(scaler.begin().scale, 1);
});

Deno.test("LossScaler.restore() continues after any step as if nothing had happened", () => {
  const outcomes = [false, true, false, true, true, false, false, false];
  const expected = scalesOf(new LossScaler(), outcomes);
  for (let at = 0; at <= outcomes.length; at++) {
    const before = new LossScaler();
    const first = scalesOf(before, outcomes.slice(0, at));
    const after = new LossScaler();
    after.restore(JSON.parse(JSON.stringify(before.state())));
    assertEquals([...first, ...scalesOf(after, outcomes.slice(at))], expected);
  }
});

Deno.test("LossScaler refuses steps in a wrong order and states that cannot be", () => {
  const scaler = new LossScaler();
  scaler.begin();
  assertThrows(() => scaler.state(), TypeError, "Cannot save a loss scale");
  scaler.begin();
  assertThrows(() => scaler.begin(), TypeError, "Cannot begin a step");
  const state = { scale: 1, cleanSteps: 0, steps: [] };
  for (const wrong of [{ scale: 0 }, { scale: NaN }, { cleanSteps: -1 }, { cleanSteps: 0.5 }]) {
    assertThrows(() => scaler.restore({ ...state, ...wrong }), RangeError, "found");
  }
});
