"""Built-in tasks, which the server itself executes in small transactions."""
