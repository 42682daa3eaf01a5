// Arrays of vectors in textures (Gpu.copyToTexels): joined in front of kernels that read them.

const TEXEL_ROW = 2048u;

fn texelOf(i: u32) -> vec2u {
  return vec2u(i % TEXEL_ROW, i / TEXEL_ROW);
}
