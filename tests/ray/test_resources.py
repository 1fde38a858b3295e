"""What a task asks of Ray is checked when it is declared, and said in words when it has to wait."""

import pytest

from headway.worker.declaration.app import App
from headway.worker.declaration.options import TaskOptions
from headway.worker.declaration.ray_resources import as_options, checked, demand, placement_message


def test_native_and_custom_resources_are_declared_as_numbers():
    asked = {"num_cpus": 0.5, "num_gpus": 2, "memory": "2GiB", "accelerator_type:A100": 0.001}
    app = App()

    @app.task(executor="ray", resources=asked)
    def train():
        """Train."""

    declaration = app.find("train").declaration
    assert declaration.resources == {**asked, "memory": 2 << 30}
    assert TaskOptions().resources == {}


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"num_cpus": -1}, "must be a number from 0"),
        ({"num_cpus": True}, "must be a number from 0"),
        ({"num_cpus": float("nan")}, "must be a number from 0"),
        ({"num_cpus": "2"}, "must be a number from 0"),
        ({"license": float("inf")}, "must be a number from 0"),
        ({"num_gpus": 1.5}, "whole number"),
        ({"GPU": 1}, "write 'num_gpus'"),
        ({"CPU": 1}, "write 'num_cpus'"),
        ({"object_store_memory": 1}, "is not the name of a resource"),
        ({"memory": "much"}, "is not a size"),
        ({"": 1}, "is not the name of a resource"),
    ],
)
def test_what_ray_would_refuse_is_refused_before(resources, said):
    with pytest.raises(ValueError, match=said):
        checked(resources)


def test_another_executor_has_no_resources():
    with pytest.raises(TypeError, match=r'resources needs executor="ray"'):
        App().task(executor="process", resources={"num_cpus": 1})(test_another_executor_has_no_resources)


def test_ray_gets_its_own_resources_by_its_own_names():
    resources = {"num_gpus": 1.0, "memory": 1e9, "license": 2.0}
    assert as_options(resources) == {"num_gpus": 1.0, "memory": 1_000_000_000, "resources": {"license": 2.0}}
    assert demand(resources) == {"CPU": 1, "GPU": 1, "memory": 1e9, "license": 2}
    assert demand({"num_cpus": 0}) == {}


def test_a_run_that_waits_is_told_for_what():
    nodes = [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}]
    one = {"num_gpus": 1.0}
    assert "others hold: CPU 1, GPU 1" in placement_message(one, nodes, {"CPU": 8.0})
    assert "no node of the cluster has: CPU 4, GPU 1" in placement_message(
        {**one, "num_cpus": 4.0}, nodes, {"CPU": 10.0}
    )
    assert "to make a process" in placement_message(one, nodes, {"CPU": 10.0, "GPU": 1.0})
    assert "no resources" in placement_message({"num_cpus": 0.0}, nodes, {})
