"""Where a probe may be: the kernel's rules, and the verdict on one place."""
