"""BCC's tools: Python that attaches, and the C text in it."""
