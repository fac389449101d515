"""Virtual machines: their cards and addresses, the part of a switch's work that a card does, and QEMU, which runs them."""
