"""What boot leaves behind for kernels that are called: memory, per-CPU data, exception tables."""
