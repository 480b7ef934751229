"""What an eBPF program can reach once it is relocated: which calls, which reads of its context."""
