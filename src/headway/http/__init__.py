"""The native API: one list of typed routes, their handlers, and the structs of the wire."""
