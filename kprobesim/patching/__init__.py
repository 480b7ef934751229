"""The kernel's text as boot leaves it: alternatives, calls, labels and NOPs patched."""
