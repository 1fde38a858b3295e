"""The store: named SQL statements, the writer that commits in groups, and the readers. The only SQL in the product."""
