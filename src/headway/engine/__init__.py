"""The decisions: pure functions from nouns to nouns. No clock, no database, no randomness, no logging."""
