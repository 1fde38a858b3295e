"""Upper bounds of the cost of validating inputs against a JSON Schema, computed from the schema alone."""
