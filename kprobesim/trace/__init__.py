"""Tracing a kernel as tracefs shows it: events, what they record, and the files of both."""
