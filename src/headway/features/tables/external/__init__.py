"""Rows of databases that are not ours: of the user's own PostgreSQL, MySQL or SQLite, through SQLAlchemy."""
