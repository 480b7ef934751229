"""What the kernel keeps under ``arch/*/kernel/kprobes``: words in, decisions and bytes out."""
