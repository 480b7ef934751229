"""What people have that names probes: eBPF objects, scripts, policies, definitions, lists."""
