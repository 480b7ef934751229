"""What booting needs: the boards with their devices, virtual time, the console, an initramfs."""
