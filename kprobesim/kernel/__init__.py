"""What a user does with a kernel: load or boot it, call its functions, probe it, keep it."""
