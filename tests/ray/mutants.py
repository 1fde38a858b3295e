"""Seeded bugs that the tests on a Ray cluster have to find: `python -m tests.ray.mutants [NAME …]`."""

import sys

from tests.mutation import Mutant, main

TEST = "tests/ray/test_cluster.py::test_"

MUTANTS = (
    Mutant(
        "death-not-reported", "Relay.outcome",
        "crashed(attempt, exit_reason)", "None",
        f"{TEST}a_killed_node_means_another_attempt_elsewhere_and_one_outcome",
    ),
    Mutant(
        "ray-retries", "Driver._execute_lease",
        "{**as_options(message.resources), 'name': message.task, 'max_retries': 0}",
        "{**as_options(message.resources), 'name': message.task, 'max_retries': 3}",
        f"{TEST}a_process_that_dies_is_a_crash_and_ray_does_not_try_again",
        also=("Driver._execute_lease", "await run.ref", "await run.ref\nreturn"),
    ),
    Mutant(
        "driver-outlives", "driver.main",
        "die_with(parent)", "pass",
        f"{TEST}what_a_killed_worker_had_on_ray_ends_and_another_worker_finishes_it",
        also=("Driver._read", "os._exit(0)", "self._pipe.send = lambda message: None"),
    ),
    Mutant(
        "never-killed", "Driver._do",
        "match message:\n"
        "    case FrameToTask():\n"
        "        ...\n"
        "    case Withdraw():\n"
        "        ...\n"
        "    case KillTask():\n"
        "        self._ray.cancel(run.ref, force=True)",
        "match message:\n"
        "    case FrameToTask():\n"
        "        ...\n"
        "    case Withdraw():\n"
        "        ...\n"
        "    case KillTask():\n"
        "        pass",
        f"{TEST}a_function_that_ignores_its_end_is_killed",
    ),
    Mutant(
        "killed-kindly", "Driver._do",
        "match message:\n"
        "    case FrameToTask():\n"
        "        ...\n"
        "    case Withdraw():\n"
        "        ...\n"
        "    case KillTask():\n"
        "        self._ray.cancel(run.ref, force=True)",
        "match message:\n"
        "    case FrameToTask():\n"
        "        ...\n"
        "    case Withdraw():\n"
        "        ...\n"
        "    case KillTask():\n"
        "        self._ray.cancel(run.ref, force=False)",
        f"{TEST}a_function_that_ignores_its_end_is_killed",
    ),
    Mutant(
        "stop-not-told", "RayCluster._interrupt",
        "self._send_frame(attempt, CancelFrame(cause))", "pass",
        f"{TEST}a_stop_lets_the_function_clean_up",
    ),
    Mutant(
        "waiting-not-withdrawn", "RayCluster._interrupt",
        "self._send(Withdraw(*attempt.key))", "pass",
        f"{TEST}a_run_that_no_node_can_take_says_so_and_can_be_stopped",
    ),
    Mutant(
        "lost-with-the-driver", "RayCluster._driver_lost",
        "for run in runs:\n    ...", "for run in ():\n    ...",
        f"{TEST}a_killed_driver_ends_what_it_had_on_ray_and_the_worker_joins_again",
    ),
    Mutant(
        "no-clock", "RayCluster._on_message",
        "run.attempt.begun()", "pass",
        f"{TEST}a_function_that_takes_too_long_is_ended",
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(MUTANTS, "-m", ""))
