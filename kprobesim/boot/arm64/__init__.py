"""The ARM64 board: an A72 with GICv2, PL011, architected timer and PSCI firmware."""
