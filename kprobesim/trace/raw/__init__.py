"""Entries as the bytes of the kernel's ring buffer, which tools read from ``trace_pipe_raw``."""
