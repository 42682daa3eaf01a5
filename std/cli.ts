/** Command-line helpers: a stand-in for `@std/cli` 1, which has `parseArgs` at its root too. @module */

export { type Args, parseArgs, type ParseOptions } from "./parse_args.ts";
