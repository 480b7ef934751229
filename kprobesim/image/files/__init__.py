"""Files that hold kernels: packages, compressed images, ELF, PE and ARM64 Images."""
