"""The parts of ``kprobesim trace``: options, what the kernel does meanwhile, what is written."""
