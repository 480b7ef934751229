"""An x86-64 board: a PC without a disk, a network or an APIC."""
