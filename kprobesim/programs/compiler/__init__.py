"""Programs as functions of the host's machine code, by llvmlite; imported when one is compiled."""
