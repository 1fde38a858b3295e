"""Execution of leases: attempts, the running ones, and watches on the state that they share."""
