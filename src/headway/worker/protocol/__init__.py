"""Worker protocol: one session with the server, and the threads that claim, report, send heartbeats and take signals."""
