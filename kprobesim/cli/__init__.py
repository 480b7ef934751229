"""The command line: one file a command; ``main`` alone prints errors and chooses exit codes."""
