// Elements that one lane handles together: one. Joined in front of kernels where the channels are no multiple of four.

alias Pack = f32;

fn packSum(value: Pack) -> f32 {
  return value;
}
