"""Filters of events, read and refused as the kernel does, and compiled."""
