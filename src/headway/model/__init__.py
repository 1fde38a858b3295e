"""The nouns: frozen structs that say what things are. No I/O, no decisions."""
