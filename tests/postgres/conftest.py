from tests.postgres.fixtures import postgres_cluster, postgres_installation, postgres_url

__all__ = ["postgres_cluster", "postgres_installation", "postgres_url"]
