"""Symbols: from ELF files, System.map or the kernel's own kallsyms."""
