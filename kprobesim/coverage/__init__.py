"""What of a kernel's code has run, and the files in which others read it."""
