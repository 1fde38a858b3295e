"""External tables: rows of the user's own PostgreSQL, MySQL or SQLite, through SQLAlchemy."""
