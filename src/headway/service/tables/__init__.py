"""Tables and their records: what a surface, a loop or a built-in task can do with them."""
