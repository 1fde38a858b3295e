"""Kernel: structs of runs and tasks, and pure decisions about them: no clock, database, randomness or logging."""
