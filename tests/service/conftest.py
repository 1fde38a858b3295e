from tests.running import disk, pytest_pyfunc_call, runner, world

__all__ = ["disk", "pytest_pyfunc_call", "runner", "world"]
