"""From "module:app" to the app, with one clear sentence when that does not work."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from headway.worker.registry import App


class AppNotLoaded(Exception):
    """The app cannot be loaded; the message says why in one sentence."""


def load_app(spec: str) -> App:
    """Import `package.module:attribute` or `folder/file.py:attribute` (`app` if no attribute is named) and return the App."""
    where, _, attribute = spec.partition(":")
    attribute = attribute or "app"
    module = _module_name(where)
    try:
        found: object = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise AppNotLoaded(f"There is no module {module!r} in {Path.cwd()} or on Python's path.") from None
        raise AppNotLoaded(
            f"Module {module!r} cannot be imported: it needs {error.name!r}, which is not installed."
        ) from error
    except (Exception, SystemExit) as error:
        raise AppNotLoaded(f"Module {module!r} cannot be imported: {type(error).__name__}: {error}") from error
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AppNotLoaded(f"Module {module!r} has no attribute {attribute!r}.") from None
    if not isinstance(found, App):
        raise AppNotLoaded(f"{spec!r} is {type(found).__name__}, not a headway.App.")
    try:
        _ = found.tasks
    except TypeError as error:  # of annotations that name what is not defined further below either
        raise AppNotLoaded(f"{spec!r} cannot be used: {error}.") from None
    return found


def as_module(spec: str) -> str:
    """Return the spec with a dotted module name, as another machine with the same code can import it."""
    where, _, attribute = spec.partition(":")
    return f"{_module_name(where)}:{attribute or 'app'}"


def _module_name(where: str) -> str:
    """Return the dotted name, and make it importable: from the working directory, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    if not where:
        raise AppNotLoaded('Name the app as "module:app" or "folder/file.py:app".')
    if "/" not in where and not where.endswith(".py"):
        return where
    path = Path(where)
    if not path.is_file():
        raise AppNotLoaded(f"There is no file {where!r} in {here}.")
    path = path.resolve()
    if path.is_relative_to(here):
        parts = path.relative_to(here).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            return ".".join(parts)
    if not path.stem.isidentifier():
        raise AppNotLoaded(f"{path.name!r} is no name of a Python module.")
    sys.path.insert(0, str(path.parent))
    return path.stem
