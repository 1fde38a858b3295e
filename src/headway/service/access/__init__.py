"""Who may do what: organisations, users and keys, how they are let in, how often, and the log of it all."""
