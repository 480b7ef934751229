"""Definitions as they are written into tracefs's ``kprobe_events`` and ``dynamic_events``."""
