"""Tadabase surface: Tadabase's Tasks API, which lists, runs, watches and terminates tasks."""
