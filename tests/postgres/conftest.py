from tests.postgres.fixtures import patroni, postgres_cluster, postgres_installation, postgres_url

__all__ = ["patroni", "postgres_cluster", "postgres_installation", "postgres_url"]
