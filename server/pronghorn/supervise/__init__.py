"""Many worker processes, and one that looks after them."""
