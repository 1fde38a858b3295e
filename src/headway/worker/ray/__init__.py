"""Runs on the user's Ray cluster: Headway keeps them, Ray finds them a place and executes them.

    the worker      cluster.py   speaks with the server; keeps a driver alive, and the floor's runs on Ray with it
    its child       driver.py    the only process of ours that is a Ray driver, so that what Ray does to it harms no other run
    on its node     office.py    an actor, the mailbox between the driver and the functions, for neither can call the other
    on the cluster  guest.py     the Ray task: executes one lease in a process of Ray's, and reports through the office

Whatever is lost, a node, the office, the driver, the worker or the way between them, ends the functions that hung on it;
epochs keep out what one of them says too late. Ray itself never retries: it keeps nothing that a restart of it would survive.
"""
