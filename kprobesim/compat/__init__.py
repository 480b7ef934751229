"""Whether probes attach, and whether they hit, on every kernel, as far as its file tells."""
