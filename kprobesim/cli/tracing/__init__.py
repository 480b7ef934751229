"""The parts of ``kprobesim trace``: its options, what the kernel does meanwhile, what is written."""
