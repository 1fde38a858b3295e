"""What a value of each type of field is, what follows from a condition, and what an index goes by: pure."""
