"""The kprobes subsystem: probes, their registration, and what happens when one is hit."""
