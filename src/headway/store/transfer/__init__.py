"""Moves a store from a file into a database, whole, and in parts that can be gone on with."""
