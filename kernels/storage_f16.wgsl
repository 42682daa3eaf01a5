// Elements in memory: f16. Twin of storage_f32.wgsl.

enable f16;

alias Stored = f16;
alias Stored4 = vec4<f16>;
