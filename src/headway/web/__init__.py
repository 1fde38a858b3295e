"""HTTP: routing, authorization, documents, streams, load shedding and the server; and the native API of the runs."""
