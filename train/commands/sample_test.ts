import { assertThrows } from "@std/assert";
import { UserError } from "../errors.ts";
import { requireTypes } from "./sample.ts";

Deno.test("requireTypes() refuses f16 where the adapter has none, and names the option", () => {
  const adapter = { name: "a small GPU", vendor: "", software: false, subgroupSize: 0 };
  const without = { adapter, features: new Set<string>() };
  requireTypes(without, { precision: "f32", cacheType: "f32" });
  requireTypes({ adapter, features: new Set(["shader-f16"]) }, {
    precision: "f16",
    cacheType: "f16",
  });
  assertThrows(
    () => requireTypes(without, { precision: "f16", cacheType: "f16" }),
    UserError,
    "Cannot sample with --precision f16: expected an adapter that computes with f16 (feature shader-f16), found a small GPU without",
  );
  assertThrows(
    () => requireTypes(without, { precision: "f32", cacheType: "f16" }),
    UserError,
    "Cannot sample with --kv-cache f16",
  );
});
