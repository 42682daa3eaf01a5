// Elements that one lane handles together: one. Joined, behind special.wgsl, in front of kernels where the channels
// are no multiple of four.

alias Pack = f32;
alias StoredPack = Stored;
const PACK_WIDTH = 1u;

fn packSum(value: Pack) -> f32 {
  return value;
}

// `other`, but NaN where `value` is NaN: a compiler that assumes that there are none makes a minimum of a comparison.
fn packKeepNan(other: Pack, value: Pack) -> Pack {
  return select(other, value, (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u);
}

fn packSigmoid(value: Pack) -> Pack {
  return sigmoid(value);
}

fn packMaximum(value: Pack) -> f32 {
  return value;
}

fn packExp(value: Pack) -> Pack {
  return preciseExp(value);
}

fn packExpOfNegative(value: Pack) -> Pack {
  return expOfNegative(value);
}

// Numbers of the elements of a pack within their row.
fn packColumns(pack: u32) -> Pack {
  return f32(pack);
}

// Of values for four neighboring elements, those of a pack's own.
fn packOwn(values: vec4f, pack: u32) -> Pack {
  return values[pack & 3u];
}

// One element of the pack that it lies in.
fn packElement(value: Pack, column: u32) -> f32 {
  return value;
}

fn packLogOnePlus(value: Pack) -> Pack {
  return preciseLogOnePlus(value);
}

fn packErf(value: Pack) -> Pack {
  return preciseErf(value);
}
