"""A kernel that answers for itself: booted once, kept as a snapshot, and asked."""
