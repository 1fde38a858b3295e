"""Runs on the user's Ray cluster: Headway keeps them, Ray finds them a place and executes them.

    the worker      cluster.py      talks to the server, and keeps one driver process alive
    its child       driver.py       the only process of ours that is a Ray driver, so that a failure of Ray harms no other run
    on its node     mailbox.py      an actor that queues messages between the driver and the functions: neither can call the other
    on the cluster  remote_task.py  the Ray task: executes one lease in a process of Ray's, and reports through the mailbox

The loss of a node, the mailbox, the driver, the worker or a connection between them ends the functions that depend on it;
late reports are fenced by their epoch. Ray itself never retries: it keeps nothing that a restart of it would survive.
"""
