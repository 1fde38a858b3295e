"""The tasks that come built in; the server itself executes them, in small transactions."""
