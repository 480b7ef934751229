"""What programs keep: memory that compiled code writes and Python reads."""
