"""A CPU with memory: page tables, registers, traps, text poking, calling a guest function."""
