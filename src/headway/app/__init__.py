"""The composition root: the one place where concrete stores, loops, surfaces and workers meet."""
