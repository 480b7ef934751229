"""Programs: what a probe does without Python, compiled for the host."""
