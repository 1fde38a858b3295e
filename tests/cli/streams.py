"""A program that carries out commands on odd streams, each in a fork of itself, since starting Python takes longer than they do.

It reads one JSON line for each, `{"way": …, "arguments": […]}`, and answers with one, `{"code": …, "out": …, "err": …}`.
"""

import io
import json
import os
import sys
import tempfile

from headway.cli.main import main


def stdout(way, kept):
    """Put what the way says at descriptor 1."""
    if way == "closed":
        os.close(1)
        sys.stdout = None
        return
    if way == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    elif way == "pipe":
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
    else:
        os.dup2(kept, 1)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), encoding="ascii" if way == "ascii" else "utf-8")


def answer(way, arguments):
    """Carry out a command; return its exit code, and what it wrote to stdout and stderr."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(err.fileno(), 2)
            stdout(way, out.fileno())
            main(arguments)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"code": code, "out": out.read().decode("latin-1"), "err": err.read().decode("utf-8", "replace")}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    for line in iter(sys.stdin.readline, ""):
        answers.write(json.dumps(answer(**json.loads(line))) + "\n")
        answers.flush()
