// Elements in memory: f32. Joined in front of kernels whose bindings are declared over these types.

alias Stored = f32;
alias Stored4 = vec4f;
