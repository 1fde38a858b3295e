"""Record tasks: actions over the records of a table, their runs, and the errors of single records."""
