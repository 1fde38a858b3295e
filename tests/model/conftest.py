from tests.running import _empty_store, postgres_cluster, postgres_installation

__all__ = ["_empty_store", "postgres_cluster", "postgres_installation"]
