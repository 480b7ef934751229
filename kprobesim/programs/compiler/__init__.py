"""Programs as machine code of the host, made by LLVM; imported only where llvmlite is installed."""
