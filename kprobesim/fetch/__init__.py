"""Real kernels and a BusyBox from the Debian archives that this machine's APT knows."""
