"""Features: each folder has the model, rules, service, statements, routes and loop of one, and plugs in by its `feature.py`."""
