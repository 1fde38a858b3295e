"""Tables: their fields, records, files, imports and exports, and tables of external databases."""
