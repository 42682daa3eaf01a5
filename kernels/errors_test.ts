import { assertEquals } from "@std/assert";
import { GpuError, GpuMemoryError } from "./errors.ts";

Deno.test("GpuError names the operation and says what the device said", () => {
  const error = new GpuError("conv2d.forward", "Validation Error\n");
  assertEquals(error.message, "Cannot run conv2d.forward on the GPU: Validation Error");
  assertEquals([error.name, error.operation], ["GpuError", "conv2d.forward"]);
});

Deno.test("GpuMemoryError is a RangeError with its own name", () => {
  const error = new GpuMemoryError("Cannot allocate");
  assertEquals([error.name, error instanceof RangeError], ["GpuMemoryError", true]);
});
