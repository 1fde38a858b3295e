"""Command line: one module per noun or verb; commands call the client or the app, never a database."""
