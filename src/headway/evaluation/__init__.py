"""Child processes with limits of time and memory, which render users' templates and check inputs against schemas."""
