"""Executor in child processes: a crash, a memory limit or a kill there ends one run and not the worker."""
