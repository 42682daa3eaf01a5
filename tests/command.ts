/** Runs the command line as a user does, in this process or in one of its own. @module */

import { assert, assertEquals } from "@std/assert";
import { main } from "../cli.ts";

/** What a command did. */
export interface CommandOutcome {
  /** Exit code. */
  readonly code: number;
  /** Its results. */
  readonly stdout: string;
  /** Everything else that it said. */
  readonly stderr: string;
}

/**
 * Runs a command in this process; what it prints is caught.
 *
 * @param args Arguments as after `cli.ts`.
 * @returns What it did.
 */
export async function runCommand(...args: readonly string[]): Promise<CommandOutcome> {
  const { log, error } = console;
  const lines = { stdout: "", stderr: "" };
  Object.assign(console, {
    log: (line: unknown) => void (lines.stdout += `${line}\n`),
    error: (line: unknown) => void (lines.stderr += `${line}\n`),
  });
  try {
    return { code: await main(args), ...lines };
  } finally {
    Object.assign(console, { log, error });
  }
}

/** How {@linkcode startCommand} starts. */
export interface StartOptions {
  /** Environment variables to add. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A command that runs in a process of its own. */
export interface StartedCommand {
  /** The process. */
  readonly process: Deno.ChildProcess;
  /** What it did, once it has ended. */
  readonly outcome: Promise<CommandOutcome>;
  /**
   * Waits for something that it says.
   *
   * @param text Part of it.
   */
  readonly said: (text: string) => Promise<void>;
}

/**
 * Starts a command in a process of its own, as the tasks do.
 *
 * @param args Arguments as after `cli.ts`.
 * @param options Environment.
 * @returns The running command.
 */
export function startCommand(args: readonly string[], options: StartOptions = {}): StartedCommand {
  const file = (path: string): string => new URL(import.meta.resolve(path)).pathname;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--preload", file("../tools/gpu_env.ts"), file("../cli.ts")]
      .concat(args),
    env: { NO_COLOR: "1", ...options.env },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const text = { stdout: "", stderr: "" };
  const collect = async (stream: "stdout" | "stderr"): Promise<void> => {
    for await (const chunk of process[stream].pipeThrough(new TextDecoderStream())) {
      text[stream] += chunk;
    }
  };
  const finished = (async (): Promise<CommandOutcome> => {
    await Promise.all([collect("stdout"), collect("stderr")]);
    const { code } = await process.status;
    return { code, ...text };
  })();
  let ended = false;
  const outcome = finished.finally(() => ended = true);
  return {
    process,
    outcome,
    said: async (part) => {
      while (!text.stderr.includes(part) && !text.stdout.includes(part)) {
        assert(!ended, `the command ended without saying ${part}:\n${text.stderr}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
  };
}

/**
 * Checks that a command refused what the user gave: exit code 2, one message, no stack trace.
 *
 * @param outcome What the command did.
 * @param message Part of the message.
 */
export function assertUserError(outcome: CommandOutcome, message: string): void {
  const { code, stderr } = outcome;
  const errors = stderr.split("\n").filter((line) => line.startsWith("error: "));
  assertEquals(errors.length, 1, stderr);
  assert(errors[0]!.includes(message), `${errors[0]} should include ${message}`);
  assert(!/^\s+at /m.test(stderr), stderr);
  assertEquals(code, 2);
}
