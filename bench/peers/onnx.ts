/**
 * Writes ONNX models of a few nodes as bytes: just enough of the format's protocol buffers.
 *
 * @see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, ModelProto.
 *
 * @module
 */

/** A node. */
export interface OnnxNode {
  /** Its operator. */
  readonly op: string;
  /** Names of its inputs. */
  readonly inputs: readonly string[];
  /** Names of its outputs. */
  readonly outputs: readonly string[];
  /** The operator set; default: ONNX's own. */
  readonly domain?: string;
  /** Whole numbers, lists of them, and floats in an object of their own. */
  readonly attributes?: Readonly<Record<string, number | readonly number[] | { float: number }>>;
}

/** A model whose tensors are all f32. */
export interface OnnxModel {
  /** In the order in which they run. */
  readonly nodes: readonly OnnxNode[];
  /** Extents of the inputs by name. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** Extents of the outputs by name. */
  readonly outputs: Readonly<Record<string, readonly number[]>>;
}

const FLOAT = 1;
const ATTRIBUTE = { float: 1, integer: 2, integers: 7 } as const;
const IR_VERSION = 10;
const OPSETS = [["", 21], ["com.microsoft", 1]] as const;

type Bytes = readonly number[];

function varint(value: number): Bytes {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push(rest % 128 + 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

/** A field of a whole number. */
function integer(field: number, value: number): Bytes {
  return [...varint(field * 8), ...varint(value)];
}

/** A field of bytes: text, or a message. */
function block(field: number, content: Bytes | string): Bytes {
  const bytes = typeof content === "string" ? [...new TextEncoder().encode(content)] : content;
  return [...varint(field * 8 + 2), ...varint(bytes.length), ...bytes];
}

function float(field: number, value: number): Bytes {
  return [...varint(field * 8 + 5), ...new Uint8Array(Float32Array.of(value).buffer)];
}

function attribute(name: string, value: number | readonly number[] | { float: number }): Bytes {
  if (typeof value === "number") {
    return [...block(1, name), ...integer(3, value), ...integer(20, ATTRIBUTE.integer)];
  }
  if ("float" in value) {
    return [...block(1, name), ...float(2, value.float), ...integer(20, ATTRIBUTE.float)];
  }
  const numbers = value.flatMap((each) => integer(8, each));
  return [...block(1, name), ...numbers, ...integer(20, ATTRIBUTE.integers)];
}

function node({ op, inputs, outputs, domain, attributes = {} }: OnnxNode): Bytes {
  return [
    ...inputs.flatMap((name) => block(1, name)),
    ...outputs.flatMap((name) => block(2, name)),
    ...block(4, op),
    ...Object.entries(attributes).flatMap(([name, value]) => block(5, attribute(name, value))),
    ...(domain === undefined ? [] : block(7, domain)),
  ];
}

function value(name: string, shape: readonly number[]): Bytes {
  const extents = shape.flatMap((extent) => block(1, integer(1, extent)));
  const tensor = [...integer(1, FLOAT), ...block(2, extents)];
  return [...block(1, name), ...block(2, block(1, tensor))];
}

/**
 * Encodes a model.
 *
 * @param model Its graph.
 * @returns The bytes of a `.onnx` file.
 */
export function encodeOnnx(model: OnnxModel): Uint8Array {
  const graph = [
    ...model.nodes.flatMap((each) => block(1, node(each))),
    ...block(2, "graph"),
    ...Object.entries(model.inputs).flatMap(([name, shape]) => block(11, value(name, shape))),
    ...Object.entries(model.outputs).flatMap(([name, shape]) => block(12, value(name, shape))),
  ];
  return Uint8Array.from([
    ...integer(1, IR_VERSION),
    ...block(7, graph),
    ...OPSETS.flatMap(([domain, version]) =>
      block(8, [...block(1, domain), ...integer(2, version)])
    ),
  ]);
}
