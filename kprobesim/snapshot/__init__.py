"""The snapshot file: sections with a checksum, and pages of memory. Knows nothing of kernels."""
