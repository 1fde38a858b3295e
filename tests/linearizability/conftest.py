from tests.faults.conftest import place
from tests.postgres.fixtures import postgres_cluster, postgres_installation, postgres_url

__all__ = ["place", "postgres_cluster", "postgres_installation", "postgres_url"]
