"""Other task APIs, spoken exactly: their clients work with nothing changed but the host.

A surface is words only: their paths and structs, our verbs, our states in their words. It keeps nothing and decides
nothing; what it needs is a feature of the service. Where two of them want the same path, `surfaces.py` says who has it.
"""
