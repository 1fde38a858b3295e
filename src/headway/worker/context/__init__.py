"""Context of a run: progress, steps, waits and children as user code calls them, and reports of their results."""
