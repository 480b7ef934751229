"""The parts of ``kprobesim race``: options, the kernel and what is raced, what is written."""
