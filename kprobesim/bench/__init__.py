"""What a probe costs, and what the machine under it costs, beside the other ways to do it."""
