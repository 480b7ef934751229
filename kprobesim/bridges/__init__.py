"""Ways from a kernel of ours to other people's tools."""
