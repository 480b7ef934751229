"""The path of a hit: from the trap to where the guest goes on."""
