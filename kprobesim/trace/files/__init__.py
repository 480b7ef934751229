"""The files of tracefs: one class a file, or a family of them."""
