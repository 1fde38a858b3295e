"""Huey on SQLite: python p_huey.py submit | work."""

import sys

import witness
from huey import SqliteHuey

huey = SqliteHuey("faults", filename=witness.STORE, fsync=True)


@huey.task()
def task(n):
    witness.work(n)


if __name__ == "__main__":
    if sys.argv[1] == "submit":
        witness.submit(task)
    else:
        huey.create_consumer(workers=8, worker_type="thread", initial_delay=0.01, max_delay=0.05).run()
