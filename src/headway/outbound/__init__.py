"""Outbound traffic for users: calls, mails, and the templates in them, within limits of targets and time."""
