"""bpftrace's scripts: their attach points, and what the bodies read of the kernel."""
