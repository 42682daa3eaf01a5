import { assertEquals, assertNotEquals } from "@std/assert";
import type { AdapterDescription } from "../kernels/gpu.ts";
import type { Tile } from "../kernels/matmul_tile.ts";
import { readTiles, tileFile, writeTiles } from "./tile_cache.ts";

const ADAPTER: AdapterDescription = {
  name: "an adapter",
  vendor: "a vendor",
  software: false,
  subgroupSize: 0,
};
const TILES = new Map<string, Tile>([
  ["matmul ffTf 1x1024x128", {
    family: "register",
    lanesX: 8,
    lanesY: 1,
    rows: 4,
    columns: 4,
    broadcast: "a",
  }],
  ["conv2d_forward fff 64x32x27", {
    family: "workgroup",
    lanesX: 8,
    lanesY: 8,
    rows: 8,
    columns: 8,
  }],
]);

const granted = (await Deno.permissions.query({ name: "write" })).state === "granted";

Deno.test({
  name: "measured tiles are read as they were written, by adapter",
  ignore: !granted,
  async fn() {
    const path = await Deno.makeTempDir();
    const folder = new URL(`file://${path}/tiles/`);
    try {
      const file = await tileFile(ADAPTER, folder);
      assertEquals(await readTiles(file), undefined);
      await writeTiles(file, ADAPTER, TILES);
      assertEquals(await readTiles(file), TILES);
      const other = await tileFile({ ...ADAPTER, name: "another" }, folder);
      assertNotEquals(other.href, file.href);
      for (const text of ["{", "{}", '{"tiles":{"a":{"family":"register","rows":1.5}}}']) {
        await Deno.writeTextFile(file, text);
        assertEquals(await readTiles(file), undefined, text);
      }
    } finally {
      await Deno.remove(path, { recursive: true });
    }
  },
});
