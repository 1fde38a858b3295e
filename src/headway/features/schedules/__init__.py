"""Schedules: runs that start at times, and the record of every slot."""
