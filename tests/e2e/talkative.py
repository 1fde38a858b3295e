"""An app that writes what programs write: prints, lines that look like records, warnings with tracebacks."""

import logging

import headway

app = headway.App()


@app.task
def talk() -> str:
    print("one\ntwo \x1b[31mred \udcff")
    print('{"time": "now", "is": "ours"}')
    try:
        raise ValueError("first\nsecond")  # noqa: TRY301 - what is logged
    except ValueError:
        logging.getLogger("theirs").exception("it failed")
    return "done"
