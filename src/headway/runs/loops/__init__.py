"""The loops that make time pass. Each has a `tick` that does what is due and says when it wants to be called again."""
