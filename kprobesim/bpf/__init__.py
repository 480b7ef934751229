"""Compiled eBPF objects: what they attach to, and what they need of a kernel."""
