"""Proves the tests on a Ray cluster, as `tests.faults.mutants` does for the others: `python -m tests.ray.mutants [NAME …]`."""

import sys

from tests.faults.mutants import Mutant, main

TEST = "../ray/test_cluster.py::test_"
DRIVER, CLUSTER = "worker/executors/ray/driver.py", "worker/executors/ray/cluster.py"
KILLS = "            case KillTask():\n                self._ray.cancel(run.ref, force=True)"

MUTANTS = (
    Mutant(
        "death-not-reported", "worker/executors/relay.py",
        "return crashed(attempt, exit_reason)", "return None",
        f"{TEST}a_killed_node_means_another_attempt_elsewhere_and_one_outcome",
    ),
    Mutant(
        "ray-retries", DRIVER,
        '"max_retries": 0}', '"max_retries": 3}',
        f"{TEST}a_process_that_dies_is_a_crash_and_ray_does_not_try_again",
        ("await run.ref", "await run.ref; return"),
    ),
    Mutant(
        "driver-outlives", DRIVER,
        "    die_with(parent)\n", "",
        f"{TEST}what_a_killed_worker_had_on_ray_ends_and_another_worker_finishes_it",
        ("        os._exit(0)  # the worker has gone", "        self._pipe.send = lambda message: None"),
    ),
    Mutant(
        "never-killed", DRIVER,
        KILLS, "            case KillTask():\n                pass",
        f"{TEST}a_function_that_ignores_its_end_is_killed",
    ),
    Mutant(
        "killed-kindly", DRIVER,
        KILLS, KILLS.replace("True", "False"),
        f"{TEST}a_function_that_ignores_its_end_is_killed",
    ),
    Mutant(
        "stop-not-told", CLUSTER,
        "        self._send_frame(attempt, CancelFrame(cause))\n", "",
        f"{TEST}a_stop_lets_the_function_clean_up",
    ),
    Mutant(
        "waiting-not-withdrawn", CLUSTER,
        "        self._send(Withdraw(*attempt.key))\n", "",
        f"{TEST}a_run_that_no_node_can_take_says_so_and_can_be_stopped",
    ),
    Mutant(
        "lost-with-the-driver", CLUSTER,
        "        for run in runs:\n", "        for run in ():\n",
        f"{TEST}a_killed_driver_ends_what_it_had_on_ray_and_the_worker_joins_again",
    ),
    Mutant(
        "no-clock", CLUSTER,
        "                run.attempt.begun()\n", "",
        f"{TEST}a_function_that_takes_too_long_is_ended",
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(MUTANTS, "-m", ""))
