/** Makes sure that a WebGPU adapter exists: `deno task setup`; on Debian and Ubuntu it installs a software Vulkan driver. @module */

/** What the set-up needs of the machine; tests give their own. */
export interface Machine {
  /** The operating system, as in `Deno.build.os`. */
  os: typeof Deno.build.os;
  /** Whether this process may install packages without sudo. */
  isRoot: boolean;
  /** Whether somebody sits in front of a terminal and could type a password. */
  isInteractive: boolean;
  /** Whether WebGPU finds an adapter, in a fresh process as drivers are loaded once per process. */
  hasAdapter(): Promise<boolean>;
  /** Whether a program is installed. */
  hasProgram(name: string): Promise<boolean>;
  /** Runs a program to its end; gives its exit code and what it wrote to standard error. */
  run(command: readonly string[]): Promise<{ code: number; errorText: string }>;
  /** Tells the user one line. */
  say(line: string): void;
}

/** `lavapipe`, the software Vulkan driver of Mesa, and the loader that finds it. */
const PACKAGES = ["mesa-vulkan-drivers", "libvulkan1"];
const INSTALL = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...PACKAGES];
const BY_HAND = `sudo apt-get update && sudo apt-get install -y ${PACKAGES.join(" ")}`;

/** Exit code of what the user has to mend: no driver and no way to install one. */
const USER_ERROR = 2;

/**
 * Installs a software Vulkan driver where there is no adapter.
 *
 * @param machine The machine to set up.
 * @returns The exit code: 0 if there is an adapter at the end, 2 if the user has to install a driver.
 */
export async function setUp(machine: Machine): Promise<number> {
  if (await machine.hasAdapter()) return 0;
  const fail = (found: string): number => {
    machine.say(`Cannot open a GPU: expected a WebGPU adapter, found none, and ${found}`);
    return USER_ERROR;
  };
  if (machine.os !== "linux") {
    return fail("only Linux has a software driver to install: update the system's graphics driver");
  }
  if (!await machine.hasProgram("apt-get")) {
    return fail(
      "no apt-get to install one: install Mesa's lavapipe or the graphics card's Vulkan driver",
    );
  }
  if (!machine.isRoot && !await machine.hasProgram("sudo")) {
    return fail(
      `neither root rights nor sudo to install one: as root, run ${
        BY_HAND.replaceAll("sudo ", "")
      }`,
    );
  }
  const prefix = machine.isRoot ? [] : machine.isInteractive ? ["sudo"] : ["sudo", "-n"];
  machine.say(`No WebGPU adapter: installing a software Vulkan driver (${PACKAGES.join(", ")})`);
  // A list that cannot be refreshed may still be good enough: the installation decides.
  await machine.run([...prefix, "apt-get", "update", "-qq"]);
  const { code, errorText } = await machine.run([...prefix, ...INSTALL]);
  if (code !== 0) {
    const reason = errorText.trim().split("\n").at(-1) ?? "";
    return fail(`apt-get failed with code ${code} (${reason}): run ${BY_HAND}`);
  }
  if (!await machine.hasAdapter()) {
    return fail(`still none after ${PACKAGES.join(" and ")} were installed: run deno task doctor`);
  }
  return 0;
}

/** Runs a program; a program that does not exist has the code that a shell would give. */
async function run(
  command: readonly string[],
): Promise<{ code: number; errorText: string }> {
  const [program = "", ...args] = command;
  try {
    const { code, stderr } = await new Deno.Command(program, {
      args,
      env: { DEBIAN_FRONTEND: "noninteractive" },
      stdin: "inherit",
      stdout: "null",
      stderr: "piped",
    }).output();
    return { code, errorText: new TextDecoder().decode(stderr) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { code: 127, errorText: error.message };
  }
}

/** This machine. */
function thisMachine(): Machine {
  return {
    os: Deno.build.os,
    isRoot: Deno.uid() === 0,
    isInteractive: Deno.stdin.isTerminal(),
    hasAdapter: async () => {
      const probe = "Deno.exit(await navigator.gpu?.requestAdapter() ? 0 : 3)";
      return (await run([Deno.execPath(), "eval", probe])).code === 0;
    },
    hasProgram: async (name) => (await run([name, "--version"])).code === 0,
    run,
    say: (line) => console.error(line),
  };
}

if (import.meta.main) Deno.exit(await setUp(thisMachine()));
