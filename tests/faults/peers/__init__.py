"""The same faults, tried on others too: `python -m tests.faults.peers FOLDER-OF-ENVIRONMENTS`."""
