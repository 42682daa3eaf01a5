// Four packs for each invocation of kernels over equally long arrays; joined behind common.wgsl.

// Whether the four are neighbors, as a processor's cache wants it. Else neighboring lanes have neighboring packs.
override CONTIGUOUS: u32 = 1u;

// The first pack of an invocation, and the distance of its packs.
struct Span { first: u32, step: u32 }

fn spanOf(workgroup: vec3u, workgroups: vec3u, lane: u32) -> Span {
  let i = flatIndex(workgroup, workgroups, lane);
  if (CONTIGUOUS == 1u) { return Span(4u * i, 1u); }
  return Span(4u * (i - lane) + lane, THREADS);
}
