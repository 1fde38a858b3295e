"""`python -m headway` is the command line."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the working folder, where a `queue.py` would replace the standard library's

from headway.cli.main import main

if __name__ == "__main__":
    main()
