"""The types of a kernel, read from its BTF: what they are, and what they look like in C."""
