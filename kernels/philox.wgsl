// Philox 4x32-10: four 32-bit random words from a 128-bit counter and a 64-bit key (Salmon et al. 2011, "Parallel random numbers:
// as easy as 1, 2, 3"). Counter: (block of four elements, stream of the op, step, 0); key: (seed, 0).

fn multiplyWide(a: u32, b: u32) -> vec2u {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let low = al * bl;
  let middle = ah * bl + (low >> 16u);
  let carry = al * bh + (middle & 0xffffu);
  return vec2u(a * b, ah * bh + (middle >> 16u) + (carry >> 16u));
}

fn philox(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  for (var round = 0u; round < 10u; round++) {
    let p0 = multiplyWide(0xD2511F53u, c.x);
    let p1 = multiplyWide(0xCD9E8D57u, c.z);
    c = vec4u(p1.y ^ c.y ^ k.x, p1.x, p0.y ^ c.w ^ k.y, p0.x);
    k += vec2u(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}

// A multiple of 2^-24 in [0, 1).
fn unitInterval(bits: u32) -> f32 {
  return f32(bits >> 8u) * 5.9604644775390625e-8;
}
