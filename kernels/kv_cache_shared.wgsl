// What both ways to attend to a cache read and write; joined in front of them.

// Packs are four elements; a fused row is [query | key | value]. `images`: of this dispatch.
struct Params { heads: u32, kv_heads: u32, room: u32, position: u32, images: u32, scale: f32 }

// Of a head.
override PACKS: u32 = 16;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;           // (images, heads + 2 kv_heads, packs)
@group(0) @binding(2) var<storage, read> table: array<vec4f>;         // (positions, packs): cosine, sine, cosine, sine
@group(0) @binding(3) var<storage, read_write> key: array<Stored4>;   // (images, kv_heads, room, packs)
@group(0) @binding(4) var<storage, read_write> value: array<Stored4>; // (images, kv_heads, room, packs)
@group(0) @binding(5) var<storage, read_write> mixed: array<vec4f>;   // (images, heads, packs)

// A pack of the new token, turned by its position.
fn turned(at: u32, pack: u32) -> vec4f {
  let x = qkv[at + pack];
  let angle = table[params.position * PACKS + pack];
  return x * angle.xxzz + angle.yyww * vec4f(-x.y, x.x, -x.w, x.z);
}
