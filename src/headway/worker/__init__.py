"""Runs user code: claim, execute, report. The only package in which functions of an app are called."""
