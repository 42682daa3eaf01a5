// The packs that an invocation of kernels over equally long arrays takes, up to `params.each`; joined behind common.wgsl.

// Whether they lie side by side, so that an invocation walks a stretch of memory of its own. Else they lie THREADS apart, so that a workgroup
// walks one together.
override ALONE: bool = false;

// The first of them, a bound that all are below, and their distance.
struct Span { first: u32, end: u32, step: u32 }

fn spanOf(workgroup: vec3u, workgroups: vec3u, lane: u32) -> Span {
  let begin = (flatIndex(workgroup, workgroups, lane) - lane) * params.each;
  if (ALONE) {
    let first = begin + lane * params.each;
    return Span(first, min(first + params.each, params.count), 1u);
  }
  return Span(begin + lane, min(begin + THREADS * params.each, params.count), THREADS);
}
