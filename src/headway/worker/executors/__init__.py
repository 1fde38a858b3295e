"""Executors: places where attempts run, which are the event loop, threads, child processes and a Ray cluster."""
