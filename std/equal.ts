/** Deep equality with the rules of `@std/assert`: NaN equals NaN, 0 equals -0, a missing prototype equals Object. @module */

/** Own enumerable keys, symbols included. */
function keysOf(value: object): PropertyKey[] {
  const symbols = Object.getOwnPropertySymbols(value)
    .filter((key) => Object.prototype.propertyIsEnumerable.call(value, key));
  return [...Object.keys(value), ...symbols];
}

function sameClass(a: object, b: object): boolean {
  return (a.constructor ?? Object) === (b.constructor ?? Object);
}

/** Whether every element of `a` has a partner of its own in `b`, in any order. */
function sameElements(a: readonly unknown[], b: readonly unknown[], seen: Seen): boolean {
  const left = [...b];
  return a.every((item) => {
    const index = left.findIndex((other) => compare(item, other, seen));
    if (index >= 0) left.splice(index, 1);
    return index >= 0;
  });
}

/** Pairs under comparison: a cycle that comes back to a pair adds no difference. */
type Seen = Map<object, Set<object>>;

function compare(a: unknown, b: unknown, seen: Seen): boolean {
  if (Object.is(a, b) || a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (!sameClass(a, b)) return false;
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) return compareViews(a, b);
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) {
    return compareViews(new Uint8Array(a), new Uint8Array(b));
  }
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (a instanceof RegExp || a instanceof URL) return String(a) === String(b);

  if (seen.get(a)?.has(b)) return true;
  seen.set(a, (seen.get(a) ?? new Set()).add(b));
  if ((a instanceof Set && b instanceof Set) || (a instanceof Map && b instanceof Map)) {
    return a.size === b.size && sameElements([...a], [...b], seen);
  }
  const keys = keysOf(a);
  if (a instanceof Error) keys.push("name", "message", "cause");
  else if (keys.length !== keysOf(b).length) return false;
  return keys.every((key) =>
    key in b === key in a && compare(Reflect.get(a, key), Reflect.get(b, key), seen)
  );
}

function compareViews(a: ArrayBufferView, b: ArrayBufferView): boolean {
  if (a.byteLength !== b.byteLength) return false;
  const left = elementsOf(a), right = elementsOf(b);
  for (let i = 0; i < left.length; i++) {
    if (left[i] !== right[i] && !Object.is(left[i], right[i])) return false;
  }
  return true;
}

/** The numbers of a typed array, the bytes of a DataView. */
function elementsOf(view: ArrayBufferView): ArrayLike<unknown> {
  if (view instanceof DataView) {
    return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  }
  return "length" in view ? Array.prototype.slice.call(view) : [];
}

/**
 * Compares two values deeply.
 *
 * @param a One value.
 * @param b Another value.
 * @returns Whether they have the same class and the same content.
 */
export function equal(a: unknown, b: unknown): boolean {
  return compare(a, b, new Map());
}
