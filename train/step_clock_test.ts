import { assertEquals } from "@std/assert";
import { StepClock } from "./step_clock.ts";

Deno.test("StepClock.take() gives means of whole steps, without what interrupts them", () => {
  let timeMs = 0, idleMs = 0;
  const clock = new StepClock(() => idleMs, () => timeMs);
  const begin = (time: number, idle: number): void => {
    timeMs = time;
    idleMs = idle;
    clock.begin();
  };
  assertEquals(clock.take(), undefined);
  begin(100, 50);
  assertEquals(clock.take(), undefined, "one step has begun, none is whole");
  begin(200, 52);
  begin(400, 60);
  assertEquals(clock.take(), { stepMs: 150, gpuIdleMs: 5 });
  clock.interrupt();
  // A validation of 1000 ms; the wait behind it shows once the next step has submitted something.
  begin(1400, 62);
  begin(1500, 900);
  assertEquals(clock.take(), undefined);
  begin(1600, 903);
  assertEquals(clock.take(), { stepMs: 100, gpuIdleMs: 3 });
});
