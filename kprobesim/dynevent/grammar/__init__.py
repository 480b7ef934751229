"""The grammar of definitions, as trace_kprobe.c and trace_probe.c parse it (5.10 to 7.3)."""
