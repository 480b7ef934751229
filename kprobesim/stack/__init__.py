"""Call traces: by ORC, or by frame pointers."""
