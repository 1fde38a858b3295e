"""Structs of the HTTP API, shared by servers, clients and workers and separate from the domain model."""
