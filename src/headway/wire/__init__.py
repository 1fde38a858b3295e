"""The words of the HTTP API: the structs that servers, clients and workers exchange, apart from the nouns inside."""
