"""What the slice views show: original and result side by side, and which slices were acquired."""
