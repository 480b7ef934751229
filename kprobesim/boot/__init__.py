"""What boot leaves behind: an image in memory, per-CPU data, traced functions, exceptions."""
