"""How a probe is put into the guest: breakpoints, jumps or hooks, and the slots they need."""
