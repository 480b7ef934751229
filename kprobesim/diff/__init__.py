"""What another kernel changes for those who probe the one that they know."""
