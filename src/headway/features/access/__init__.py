"""Access: organisations, users, keys, request limits, and the audit log."""
