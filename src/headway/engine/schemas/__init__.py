"""What it costs at most to check an input against a JSON Schema: found from the schema alone, before it is used."""
