import os

import pytest
from tests.faults.server import ROOT, Deployment, Server, WorkerProcess

APP = "tests.ray.app:app"
NODES = 3


class Nodes:
    """A Ray cluster of several nodes on this machine; two of them have room at a `place`."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        os.environ["PYTHONPATH"] = f"{ROOT / 'src'}:{ROOT}"  # Ray's processes find modules as its nodes do
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, "num_gpus": 0}
        )
        self.address = self._cluster.address
        while len(self._cluster.worker_nodes) < NODES - 1:
            self.add()

    def add(self):
        self._cluster.add_node(num_cpus=2, resources={"deployment": 1})

    def kill(self, pid):
        """Kill the node whose process has that id, as a machine that goes down."""
        (node,) = (node for node in self._cluster.worker_nodes if pid in _processes(node))
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self):
        self._cluster.shutdown()


def _processes(node):
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


@pytest.fixture(scope="session")
def nodes():
    pytest.importorskip("ray", reason="Ray is not installed (tools/setup nightly does that)")
    found = Nodes()
    yield found
    found.close()


class RayDeployment(Deployment):
    """A place whose workers join a Ray cluster."""

    def __init__(self, folder, nodes):
        super().__init__(folder)
        self.nodes = nodes
        self.more = {}
        """What the environment of workers has besides."""
        self.server = Server(self, "--lease", "5s").start()

    def environment(self, **more):
        return super().environment(**self.more, **more)

    def work(self, *options, app=APP, task="quick"):
        """Start a worker, and wait until its tasks are known."""
        worker = WorkerProcess(self, "--ray-address", self.nodes.address, *options, app=app)
        self.server.knows(task)
        return worker

    def started(self, task, **given):
        return self.server.started(task, ledger=str(self.ledger.path), **given)

    def open_gate(self):
        (self.folder / "ledger-gate").touch()


@pytest.fixture
def deployment(tmp_path, nodes):
    found = RayDeployment(tmp_path, nodes)
    yield found
    found.clean_up()
