// Elements that one lane handles together: one. Joined, behind special.wgsl, in front of kernels where the channels
// are no multiple of four.

alias Pack = f32;
alias StoredPack = Stored;

fn packSum(value: Pack) -> f32 {
  return value;
}

fn packSigmoid(value: Pack) -> Pack {
  return sigmoid(value);
}
