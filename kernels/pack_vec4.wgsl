// Elements that one lane handles together: four neighboring channels, one load. Twin of pack_f32.wgsl.

alias Pack = vec4f;
alias StoredPack = Stored4;
const PACK_WIDTH = 4u;

fn packSum(value: Pack) -> f32 {
  return (value.x + value.y) + (value.z + value.w);
}

// `other`, but NaN where `value` is NaN: a compiler that assumes that there are none makes a minimum of a comparison.
fn packKeepNan(other: Pack, value: Pack) -> Pack {
  return select(other, value, (bitcast<vec4u>(value) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}

fn packSigmoid(value: Pack) -> Pack {
  return vec4f(sigmoid(value.x), sigmoid(value.y), sigmoid(value.z), sigmoid(value.w));
}

fn packMaximum(value: Pack) -> f32 {
  return max(max(value.x, value.y), max(value.z, value.w));
}

fn packExp(value: Pack) -> Pack {
  return vec4f(preciseExp(value.x), preciseExp(value.y), preciseExp(value.z), preciseExp(value.w));
}

fn packExpOfNegative(value: Pack) -> Pack {
  return vec4f(expOfNegative(value.x), expOfNegative(value.y), expOfNegative(value.z), expOfNegative(value.w));
}

// Numbers of the elements of a pack within their row.
fn packColumns(pack: u32) -> Pack {
  return vec4f(0.0, 1.0, 2.0, 3.0) + f32(4u * pack);
}

// Of values for four neighboring elements, those of a pack's own.
fn packOwn(values: vec4f, pack: u32) -> Pack {
  return values;
}

// One element of the pack that it lies in.
fn packElement(value: Pack, column: u32) -> f32 {
  return value[column & 3u];
}

fn packLogOnePlus(value: Pack) -> Pack {
  return vec4f(preciseLogOnePlus(value.x), preciseLogOnePlus(value.y), preciseLogOnePlus(value.z), preciseLogOnePlus(value.w));
}

fn packErf(value: Pack) -> Pack {
  return vec4f(preciseErf(value.x), preciseErf(value.y), preciseErf(value.z), preciseErf(value.w));
}
