"""Apps to start from; README.md beside this file says how to run each."""
