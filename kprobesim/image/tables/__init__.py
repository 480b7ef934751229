"""The kernel's own tables: where they are and what is in them."""
