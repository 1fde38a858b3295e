"""Rules of tables: values of each field type, conditions on records, and index keys; pure."""
