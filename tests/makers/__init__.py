"""What tests build their inputs with: ELF files, packages, kallsyms, code."""
