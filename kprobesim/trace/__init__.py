"""What a kernel's tracing does: dynamic events, what they record, and the files that show it."""
