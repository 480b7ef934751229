"""A trace as a file that other tools read: one file here for each kind."""
