// Arrays of vectors in textures (Gpu.copyToTexels): joined in front of kernels that read them. Software adapters load texels of a
// storage texture more than twice as fast as those of a sampled one, where each lane may have a level of its own.

const TEXEL_ROW = 1024u;

alias Texels = texture_storage_2d<rgba32float, read>;

fn texelAt(x: Texels, i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % TEXEL_ROW, i / TEXEL_ROW));
}
