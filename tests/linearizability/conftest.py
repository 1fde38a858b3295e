from tests.faults.conftest import deployment
from tests.postgres.fixtures import postgres_cluster, postgres_installation, postgres_url

__all__ = ["deployment", "postgres_cluster", "postgres_installation", "postgres_url"]
