"""The use cases: the same verbs for every surface, loop and worker; each is one transaction."""
