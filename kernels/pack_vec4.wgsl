// Elements that one lane handles together: four neighboring channels, one load. Twin of pack_f32.wgsl.

alias Pack = vec4f;
alias StoredPack = Stored4;

fn packSum(value: Pack) -> f32 {
  return (value.x + value.y) + (value.z + value.w);
}

fn packSigmoid(value: Pack) -> Pack {
  return vec4f(sigmoid(value.x), sigmoid(value.y), sigmoid(value.z), sigmoid(value.w));
}
