// Functions that several kernels share; joined in front of a kernel's own text.

override THREADS: u32 = 64;

// Index of an invocation in a dispatch of `threads` (Gpu.run), whose workgroups may continue in a second dimension.
fn flatIndex(workgroup: vec3u, workgroups: vec3u, lane: u32) -> u32 {
  return (workgroup.y * workgroups.x + workgroup.x) * THREADS + lane;
}

// WGSL has no NaN test, and compilers assume that there are none: compare bit patterns.
fn isFinite(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}
