/** How the lanes of a register tile read an operand: each for itself, or together, each a part that is dealt out to all. @module */

import { addressedRows, type Addressing, loaded, type ProductForm, range } from "./matmul_form.ts";
import type { Tile } from "./matmul_tile.ts";

/** An operand in the text of a register tile. */
export interface LaneOperand {
  /** Inner steps that one round of loads must cover, at least. */
  steps: number;
  /** Statements before the loops. */
  before: string[];
  /** Rows that the addressing prepares (A only). */
  prepared: number[];
  /** Statements that load what `steps` inner steps from `k` on need. With `tail`, steps past `count` may be among them. */
  loads: (steps: number, tail: boolean) => string[];
  /** Where number `i` (row of A, column of B) at inner step `k + kk` is. */
  number: (i: number, kk: number) => LaneNumber;
}

/** A number in the registers of a lane. */
export interface LaneNumber {
  /** WGSL of the number, or of the vector that holds it. */
  value: string;
  /** Which of the four; undefined where the value is no vector. */
  component: number | undefined;
}

/** What both ways of reading have in common. */
interface Reading {
  name: "a" | "b";
  /** Rows of A, or columns of B, that a lane multiplies. */
  count: number;
  /** Whether neighbors in memory lie along the inner axis. */
  inner: boolean;
  vector: boolean;
  /** Steps past the end are read as zeros. Elsewhere they may be any number of the operand. */
  zeros: boolean;
}

function readingOf(tile: Tile, form: ProductForm, name: "a" | "b"): Reading {
  const zeros = name === (tile.broadcast ?? "a");
  return name === "a"
    ? { name, count: tile.rows, inner: form.aAlong === "inner", vector: form.aVector, zeros }
    : { name, count: tile.columns, inner: form.bAlong === "inner", vector: form.bVector, zeros };
}

/** Index in the binding of inner step `k` of what is addressed as number `i`. */
function indexOf({ name, inner, vector }: Reading, i: number, k: string): string {
  const base = name === "a" ? `p${i}` : `bBase + q${i}`;
  const element = `${base} + ${inner ? k : `${k} * ${name}Step`}`;
  return vector ? `(${element}) >> 2u` : element;
}

function guarded(
  vector: boolean,
  value: string,
  conditions: (string | false | undefined)[],
): string {
  const all = conditions.filter(Boolean).join(" && ");
  return all ? `select(${vector ? "vec4f()" : "0f"}, ${value}, ${all})` : value;
}

/** Address of a column of B at inner step 0, less `bBase`. */
function columnAddress({ inner, vector }: Reading, column: string): string {
  return inner ? `min(${column}, n - 1u) * bStep` : `min(${column}, n - ${vector ? 4 : 1}u)`;
}

/** Loads numbers of an operand at one inner step; `last`, in the tail: how many neighbors the last load may take. */
function loadsAt(
  form: ProductForm,
  { name, addressing, reading }: { name: "a" | "b"; addressing: Addressing; reading: Reading },
  load: { j: number; step: string; last: number | undefined; numbers: readonly number[] },
): string[] {
  const { j, step, last, numbers } = load;
  const at = `${name}At${j}`;
  return [
    `let ${at} = ${last === undefined ? step : `min(${step}, count - ${last}u)`};`,
    ...numbers.map((i) => {
      const value = loaded(form, name, indexOf(reading, i, at));
      const mask = name === "a" && addressing.mask?.(i, at);
      const inside = last !== undefined && reading.zeros && `${step} < count`;
      return `let ${name}${i}_${j} = ${guarded(reading.vector, value, [inside, mask])};`;
    }),
  ];
}

/**
 * Reads the operand that lies along the lanes: each lane loads its own numbers.
 *
 * @param tile What a lane owns.
 * @param form Layout of the operands.
 * @param options Which operand, and the addressing.
 * @returns The operand.
 */
export function ownOperand(
  tile: Tile,
  form: ProductForm,
  { name, addressing }: { name: "a" | "b"; addressing: Addressing },
): LaneOperand {
  const reading = readingOf(tile, form, name);
  const { count, inner, vector } = reading;
  const unit = vector ? 4 : 1;
  const [acrossUnit, alongUnit] = inner ? [1, unit] : [unit, 1];
  const addressed = range(count / acrossUnit).map((i) => i * acrossUnit);
  const prepared = name === "a" ? addressedRows(form, count) : [];
  return {
    steps: alongUnit,
    prepared,
    before: name === "a"
      ? [addressing.prepareRows("row", prepared, 0)]
      : addressed.map((j) => `let q${j} = ${columnAddress(reading, `column${j}`)};`),
    loads: (steps, tail) =>
      range(steps / alongUnit).flatMap((j) =>
        loadsAt(form, { name, addressing, reading }, {
          j,
          step: `k + ${j * alongUnit}u`,
          last: tail ? alongUnit : undefined,
          numbers: addressed,
        })
      ),
    number: (i, kk) => {
      const component = vector ? (inner ? kk & 3 : i & 3) : undefined;
      return { value: `${name}${i - i % acrossUnit}_${Math.floor(kk / alongUnit)}`, component };
    },
  };
}

/**
 * Reads the operand that is the same for all lanes: a round of loads gives each lane other numbers, which subgroup operations deal out.
 *
 * @param tile What a lane owns.
 * @param form Layout of the operands.
 * @param options Which operand, and the addressing.
 * @returns The operand.
 */
export function dealtOperand(
  tile: Tile,
  form: ProductForm,
  { name, addressing }: { name: "a" | "b"; addressing: Addressing },
): LaneOperand {
  const reading = readingOf(tile, form, name);
  const { count, inner, vector } = reading;
  const lanes = tile.lanesX * tile.lanesY;
  const [acrossUnit, alongUnit] = !vector ? [1, 1] : inner ? [1, 4] : [4, 1];
  // A round covers a block of numbers across and of inner steps along, a unit a lane.
  const acrossLanes = Math.min(lanes, 2 ** Math.ceil(Math.log2(count / acrossUnit)));
  const across = acrossLanes * acrossUnit;
  const along = lanes / acrossLanes * alongUnit;
  const rounds = range(Math.ceil(count / across));
  const first = `lane % ${acrossLanes}u * ${acrossUnit}u`;
  return {
    steps: along,
    prepared: name === "a" ? rounds : [],
    before: [
      `let ${name}Step0 = lane / ${acrossLanes}u * ${alongUnit}u;`,
      ...rounds.flatMap((i) => {
        const start = `${name}First${i}`;
        const origin = name === "a" ? "firstRow" : "firstColumn";
        return [
          `let ${start} = ${origin} + ${i * across}u + ${first};`,
          name === "a"
            ? addressing.prepareRows(start, [0], i)
            : `let q${i} = ${columnAddress(reading, start)};`,
        ];
      }),
    ],
    loads: (steps, tail) =>
      range(steps / along).flatMap((j) =>
        loadsAt(form, { name, addressing, reading }, {
          j,
          step: `k + ${name}Step0 + ${j * along}u`,
          last: tail ? alongUnit : undefined,
          numbers: rounds,
        })
      ),
    number: (i, kk) => {
      const [x, y] = [i % across, kk % along];
      const lane = Math.floor(y / alongUnit) * acrossLanes + Math.floor(x / acrossUnit);
      const component = vector ? (inner ? y & 3 : x & 3) : undefined;
      const part = `${name}${Math.floor(i / across)}_${Math.floor(kk / along)}`;
      return { value: `subgroupBroadcast(${part}, ${lane}u)`, component };
    },
  };
}
