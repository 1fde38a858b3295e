"""Python's types and JSON: what a type is read from, written as and described by. Msgspec does it; Pydantic what is its own."""
