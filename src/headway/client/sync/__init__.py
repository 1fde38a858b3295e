# Generated from client/aio/__init__.py by tools/unasync.py: change that, not this.
"""The blocking client, generated from the async one."""
