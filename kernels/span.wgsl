// The packs that an invocation of kernels over equally long arrays takes: up to `params.each`, THREADS apart, so that a workgroup reads and
// writes one stretch of memory; joined behind common.wgsl.

// The first of them, and a bound that all are below.
struct Span { first: u32, end: u32 }

fn spanOf(workgroup: vec3u, workgroups: vec3u, lane: u32) -> Span {
  let begin = (flatIndex(workgroup, workgroups, lane) - lane) * params.each;
  return Span(begin + lane, min(begin + THREADS * params.each, params.count));
}
