"""How a probe is attached by each interface of the kernel, and what that refuses."""
