"""One file, one writer, write-ahead log: the embedded default."""
