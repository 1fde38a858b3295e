"""Domain model: frozen structs without I/O or decisions."""
