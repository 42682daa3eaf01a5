/** The set-up installs a driver where it can and says clearly where it cannot. @module */

import { assertEquals, assertMatch } from "@std/assert";
import { type Machine, setUp } from "./setup.ts";

interface Trial {
  code: number;
  commands: string[];
  lines: string[];
}

/** Sets up a machine without an adapter, root on Debian where nothing else is said. */
async function trial(
  overrides: Partial<Machine> & { programs?: string[]; installs?: boolean } = {},
): Promise<Trial> {
  const { programs = ["apt-get", "sudo"], installs = true } = overrides;
  const commands: string[] = [], lines: string[] = [];
  let adapter = false;
  const code = await setUp({
    os: "linux",
    isRoot: true,
    isInteractive: false,
    hasAdapter: () => Promise.resolve(adapter),
    hasProgram: (name) => Promise.resolve(programs.includes(name)),
    run: (command) => {
      commands.push(command.join(" "));
      adapter ||= installs && command.includes("install");
      return Promise.resolve({ code: 0, errorText: "" });
    },
    say: (line) => void lines.push(line),
    ...overrides,
  });
  return { code, commands, lines };
}

Deno.test("setUp() does and says nothing where there is an adapter", async () => {
  assertEquals(await trial({ hasAdapter: () => Promise.resolve(true) }), {
    code: 0,
    commands: [],
    lines: [],
  });
});

Deno.test("setUp() installs a software driver through apt", async () => {
  const { code, commands, lines } = await trial();
  assertEquals(code, 0);
  assertEquals(commands, [
    "apt-get update -qq",
    "apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1",
  ]);
  assertEquals(lines.length, 1);
});

Deno.test("setUp() uses sudo without root rights and asks only where somebody can answer", async () => {
  const silent = await trial({ isRoot: false });
  assertEquals(silent.commands[0], "sudo -n apt-get update -qq");
  const asking = await trial({ isRoot: false, isInteractive: true });
  assertEquals(asking.commands[0], "sudo apt-get update -qq");
});

Deno.test("setUp() ends with one message and exit code 2 where it cannot install", async () => {
  const failing: [Parameters<typeof trial>[0], RegExp][] = [
    [{ os: "darwin" }, /only Linux/],
    [{ programs: [] }, /no apt-get/],
    [{ isRoot: false, programs: ["apt-get"] }, /neither root rights nor sudo/],
  ];
  for (const [machine, message] of failing) {
    const { code, commands, lines } = await trial(machine);
    assertEquals([code, commands.length, lines.length], [2, 0, 1]);
    assertMatch(lines[0] ?? "", message);
  }
});

Deno.test("setUp() says why the installation failed", async () => {
  const { code, lines } = await trial({
    run: (command) =>
      Promise.resolve(
        command.includes("install")
          ? { code: 100, errorText: "E: no such package\n" }
          : { code: 1, errorText: "" },
      ),
  });
  assertEquals(code, 2);
  assertMatch(lines.at(-1) ?? "", /code 100 \(E: no such package\)/);
});

Deno.test("setUp() says if a driver is installed and there is no adapter still", async () => {
  const { code, lines } = await trial({ installs: false });
  assertEquals(code, 2);
  assertMatch(lines.at(-1) ?? "", /still none/);
});
