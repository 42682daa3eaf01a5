/** The command line: finds the command, runs it, and turns errors into exit codes. @module */

import { type Command, parseCommand } from "./cli/command.ts";
import { GpuError, GpuMemoryError } from "./kernels/errors.ts";
import { USER_ERROR_EXIT_CODE, UserError } from "./train/errors.ts";
import { Reporter } from "./train/log.ts";

/** Every command: what it does, in a line, and where it is; one is loaded only to be run. */
const COMMANDS: Readonly<
  Record<string, { summary: string; load: () => Promise<{ command: Command }> }>
> = {
  train: {
    summary: "Train the tokenizer (stage I), then the transformer on its tokens (stage II).",
    load: () => import("./cli/train.ts"),
  },
  plan: {
    summary: "Say what a training step will take, whether it fits, and how long it runs.",
    load: () => import("./cli/plan.ts"),
  },
  sample: {
    summary:
      "Draw images class by class: PNG files and a labeled sheet, or files for evaluation (--npz).",
    load: () => import("./cli/sample.ts"),
  },
  reconstruct: {
    summary: "Draw images of any size beside their reconstructions (PNG).",
    load: () => import("./cli/reconstruct.ts"),
  },
  evaluate: {
    summary:
      "Measure the newest run on the validation split: reconstruction, codes used, stage-II loss, class likeness of samples.",
    load: () => import("./cli/evaluate.ts"),
  },
  convert: {
    summary:
      "Convert weights: of a run, a PyTorch checkpoint or safetensors, to one of the others.",
    load: () => import("./cli/convert.ts"),
  },
  weights: {
    summary: "Fetch the published weights of VGG16, AlexNet, LPIPS and Inception into the cache.",
    load: () => import("./cli/weights.ts"),
  },
  combine: {
    summary: "Combine and shuffle the samples_*.npz of sample --npz into one sample.npz.",
    load: () => import("./cli/combine.ts"),
  },
};

const USAGE = `Tessera: image tokenizers and generators, trained on any GPU with WGSL.

Usage: deno task <command> [options]

Commands:
${
  Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(12)} ${summary}`).join(
    "\n",
  )
}

Every command has --help.`;

/**
 * Runs the command line.
 *
 * @param args Arguments without the program's name.
 * @returns The exit code: 0, 2 for a mistake of the user, 130 after Ctrl-C, 1 for anything else.
 */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || ["help", "--help", "-h"].includes(name)) {
    console.log(USAGE);
    return name === undefined ? USER_ERROR_EXIT_CODE : 0;
  }
  const debug = rest.includes("--debug");
  try {
    const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!entry) {
      throw new UserError(
        `Cannot run "${name}": expected one of ${
          Object.keys(COMMANDS).join(", ")
        }; see deno task train --help`,
      );
    }
    const { command } = await entry.load();
    const input = parseCommand(name, command, rest);
    if (input.flags.help) {
      console.log(`${entry.summary}\n\n${command.help}`);
      return 0;
    }
    return await command.run(input);
  } catch (error) {
    const code = new Reporter({ debug }).error(error);
    // No adapter, or sizes that do not fit it: nothing that the program could do better.
    const environment = error instanceof GpuMemoryError ||
      (error instanceof GpuError && error.operation === "requestAdapter");
    return environment ? USER_ERROR_EXIT_CODE : code;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
