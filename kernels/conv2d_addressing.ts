/** How the three products of a convolution (forward, input gradient, weight gradient) address their operands. @module */

import { type Addressing, clampedRow, type ProductForm, range } from "./matmul_form.ts";

const GEOMETRY = `m: u32, n: u32, inputs: u32, outputs: u32,
  height: u32, width: u32, outHeight: u32, outWidth: u32,
  kernelHeight: u32, kernelWidth: u32, stride: u32, padTop: u32, padLeft: u32,
  firstLine: u32, lines: u32, aOffset: u32, bOffset: u32, cOffset: u32`;

/**
 * Finds the pixels of consecutive rows of a product whose rows are `width` × `params.lines` pixels of each image. Only the first is
 * divided; the others are its successors.
 */
function pixels(
  start: string,
  count: number,
  first: number,
  options: { width: string; each: (i: number) => string },
): string {
  const x = `x${first}`;
  const line = `line${first}`;
  const image = `image${first}`;
  const next = `let end = ${x} + 1u == ${options.width};
let last = end && ${line} + 1u == params.lines;
${x} = select(${x} + 1u, 0u, end);
${line} = select(select(${line}, ${line} + 1u, end), 0u, last);
${image} += u32(last);`;
  return `var ${x} = (${start}) % ${options.width};
var ${line} = (${start}) / ${options.width} % params.lines;
var ${image} = (${start}) / ${options.width} / params.lines;
${range(count).map((i) => options.each(i)).join(`\n{ ${next} }\n`)}`;
}

/** Where a row that does not exist lies: outside of every image. */
const NOWHERE = "-0x40000000";

/**
 * Forward: rows are output pixels, columns output channels, the sum runs over taps and input channels. A = x, B = weight, C = y.
 */
export const CONV2D_FORWARD: Addressing = {
  name: "conv2d_forward",
  params: `${GEOMETRY}, biasOffset: u32`,
  prologue: `let m = params.m;
let n = params.n;
let bStep = params.outputs;`,
  prepareRows: (start, offsets, first) =>
    offsets.map((i) =>
      `var top${first + i}: i32; var left${first + i}: i32; var base${first + i}: u32;`
    )
      .join("\n") + `{ ${
      pixels(start, offsets.length, first, {
        width: "params.outWidth",
        each: (i) => {
          const to = first + i;
          const x = `x${first}`;
          return `let y${to} = i32((line${first} + params.firstLine) * params.stride) - i32(params.padTop);
left${to} = i32(${x} * params.stride) - i32(params.padLeft);
base${to} = params.aOffset + ((image${first} * params.height + u32(y${to})) * params.width + u32(left${to})) * params.inputs;
top${to} = select(${NOWHERE}, y${to}, ${start} + ${i}u < m);`;
        },
      })
    } }`,
  open: (rows) =>
    `for (var ky = 0u; ky < params.kernelHeight; ky++) { for (var kx = 0u; kx < params.kernelWidth; kx++) {
let count = params.inputs;
let bBase = params.bOffset + (ky * params.kernelWidth + kx) * params.inputs * params.outputs;
let shift = (ky * params.width + kx) * params.inputs;
${
      rows.map((i) =>
        `let ok${i} = u32(top${i} + i32(ky)) < params.height && u32(left${i} + i32(kx)) < params.width;
let p${i} = select(0u, base${i} + shift, ok${i});`
      ).join("\n")
    }`,
  close: "} }",
  mask: (row) => `ok${row}`,
  storeRows: (start, count) =>
    range(count).map((i) =>
      `let in${i} = ${start} + ${i}u < m;
let d${i} = params.cOffset + (params.firstLine * params.outWidth + ${start} + ${i}u) * params.outputs;`
    ).join("\n"),
};

/**
 * Input gradient: rows are input pixels, columns input channels, the sum runs over taps and output channels. A = dy, B = weight
 * (columns × inner for each tap), C = dx. With a stride, pixels of equal position modulo the stride (a phase, the workgroup's z) meet
 * the same taps, so that each phase is a dense convolution.
 */
export const CONV2D_INPUT_GRADIENT: Addressing = {
  name: "conv2d_input_gradient",
  params: `${GEOMETRY}, phaseWidth: u32`,
  prologue: `let m = params.m;
let n = params.n;
let bStep = params.outputs;
let phaseY = group.z / params.stride;
let phaseX = group.z % params.stride;
let firstKy = (phaseY + params.padTop) % params.stride;
let firstKx = (phaseX + params.padLeft) % params.stride;
let shiftY = (phaseY + params.padTop) / params.stride;
let shiftX = (phaseX + params.padLeft) / params.stride;`,
  prepareRows: (start, offsets, first) =>
    offsets.map((i) =>
      `var top${first + i}: i32; var left${first + i}: i32; var base${first + i}: u32;`
    )
      .join("\n") + `{ ${
      pixels(start, offsets.length, first, {
        width: "params.phaseWidth",
        each: (i) => {
          const to = first + i;
          return `let y${to} = line${first} + params.firstLine + shiftY;
left${to} = i32(x${first} + shiftX);
base${to} = params.aOffset + ((image${first} * params.outHeight + y${to}) * params.outWidth + u32(left${to})) * params.outputs;
top${to} = select(${NOWHERE}, i32(y${to}), ${start} + ${i}u < m);`;
        },
      })
    } }`,
  open: (rows) =>
    `for (var ky = firstKy; ky < params.kernelHeight; ky += params.stride) { for (var kx = firstKx; kx < params.kernelWidth; kx += params.stride) {
let count = params.outputs;
let bBase = params.bOffset + (ky * params.kernelWidth + kx) * params.inputs * params.outputs;
let tapY = ky / params.stride;
let tapX = kx / params.stride;
let shift = (tapY * params.outWidth + tapX) * params.outputs;
${
      rows.map((i) =>
        `let ok${i} = u32(top${i} - i32(tapY)) < params.outHeight && u32(left${i} - i32(tapX)) < params.outWidth;
let p${i} = select(0u, base${i} - shift, ok${i});`
      ).join("\n")
    }`,
  close: "} }",
  mask: (row) => `ok${row}`,
  storeRows: (start, count) =>
    range(count).map((i) => `var in${i}: bool; var d${i}: u32;`).join("\n") +
    `{ ${
      pixels(start, count, 0, {
        width: "params.phaseWidth",
        each: (i) =>
          `let y${i} = (line0 + params.firstLine) * params.stride + phaseY;
let left${i} = x0 * params.stride + phaseX;
in${i} = ${start} + ${i}u < m && y${i} < params.height && left${i} < params.width;
d${i} = params.cOffset + ((image0 * params.height + y${i}) * params.width + left${i}) * params.inputs;`,
      })
    } }`,
};

/**
 * Weight gradient: rows are taps and input channels, columns output channels, the sum runs over output pixels. A = x (inner × rows),
 * B = dy, C = dweight, or one of `shares` partial sums over a share of the lines (the workgroup's z).
 *
 * @param form Layout of the operands.
 * @returns Its addressing.
 */
export function conv2dWeightGradientAddressing(form: ProductForm): Addressing {
  return {
    name: "conv2d_weight_gradient",
    params: `${GEOMETRY}, images: u32, shares: u32`,
    prologue: `let m = params.m;
let n = params.n;
let aStep = params.stride * params.inputs;
let bStep = params.outputs;
let count = params.outWidth;
let allLines = params.images * params.lines;
let perShare = (allLines + params.shares - 1u) / params.shares;
let beginLine = min(group.z * perShare, allLines);
let endLine = min(beginLine + perShare, allLines);`,
    prepareRows: (start, offsets, first) =>
      offsets.map((offset) => {
        const to = first + offset;
        return `let channel${to} = ${clampedRow(form, `${start} + ${offset}u`)};
let tap${to} = channel${to} / params.inputs;
let top${to} = tap${to} / params.kernelWidth - params.padTop;
let left${to} = tap${to} % params.kernelWidth - params.padLeft;
let shift${to} = (top${to} * params.width + left${to}) * params.inputs + channel${to} % params.inputs;`;
      }).join("\n"),
    open: (rows) =>
      `var image = beginLine / params.lines;
var lineOfImage = beginLine % params.lines;
for (var line = beginLine; line < endLine; line++) {
let outY = lineOfImage + params.firstLine;
let y = outY * params.stride;
let aBase = params.aOffset + (image * params.height + y) * params.width * params.inputs;
let bBase = params.bOffset + (image * params.outHeight + outY) * params.outWidth * params.outputs;
${
        rows.map((i) =>
          `let p${i} = aBase + shift${i}; let inside${i} = y + top${i} < params.height;`
        ).join("\n")
      }`,
    close: `lineOfImage++;
if (lineOfImage == params.lines) { lineOfImage = 0u; image++; }
}`,
    mask: (row, k) => `inside${row} && ${k} * params.stride + left${row} < params.width`,
    storeRows: (start, count) =>
      range(count).map((i) =>
        `let in${i} = ${start} + ${i}u < m;
let d${i} = params.cOffset + (group.z * params.m + ${start} + ${i}u) * params.outputs;`
      ).join("\n"),
  };
}
