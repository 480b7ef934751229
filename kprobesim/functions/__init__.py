"""What became of each function of a kernel: clones, twins, inlining, callers, arguments."""
