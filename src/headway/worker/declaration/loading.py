"""Loading of an app by its name: `package.module:attribute`, or `folder/file.py:attribute`.

The working folder, and the folder of a file that is in no package, come onto the import path behind the standard library
and ahead of installed packages: `import helper` finds what lies beside the app, and nothing there hides a module of the
standard library. The app's own module is always the one that lies in the folder, also where its name means another one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final

from headway.worker.declaration.app import App
from headway.worker.processes.launch import is_standard, working_folder

_INIT: Final = "__init__"


class AppNotLoaded(Exception):
    """The app cannot be loaded; the message says why in one sentence, `traceback` what the user's code raised, if it did."""

    traceback: str = ""

    @property
    def told(self) -> str:
        """The message, and the traceback below it."""
        return f"{self}\n{self.traceback}".rstrip()


def load_app(spec: str) -> App:
    """Import `package.module:attribute` or `folder/file.py:attribute` (`app` if no attribute is named) and return the App."""
    where, _, attribute = spec.partition(":")
    attribute = attribute or "app"
    here = _here()
    file = _file(where, here)
    try:
        module = importlib.import_module(where) if file is None else _load(file, here)
    except (Exception, SystemExit) as error:
        raise _not_loaded(where, file, here, error) from error
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AppNotLoaded(f"{_called(module)} has no attribute {attribute!r}.") from None
    if not isinstance(found, App):
        raise AppNotLoaded(f"{attribute!r} of {_called(module)} is {type(found).__name__}, not a headway.App.")
    try:
        _ = found.tasks
    except TypeError as error:  # of annotations that name an object which is not defined further below either
        raise AppNotLoaded(f"{spec!r} cannot be used: {error}.") from None
    return found


def as_module(spec: str) -> str:
    """Return the spec with a dotted module name, as another machine with the same code can import it."""
    where, _, attribute = spec.partition(":")
    here = _here()
    file = _file(where, here)
    name = where
    if file is not None:
        names = _names(file, here)
        names = [named for named in names if named[1] == here] or names  # others have the folder, and not our path
        name = next((name for name, base in names if _leads_into(name, base)), "")
        if not name:
            raise AppNotLoaded(f"{_taken(file, here)} Rename it, so that other machines can import it.")
    return f"{name}:{attribute or 'app'}"


def _here() -> Path:
    """Return the working folder, from which modules can be imported from now on."""
    folder = working_folder()
    if not folder:
        raise AppNotLoaded("The working folder of this process has been deleted.")
    _make_importable(folder)
    return Path(folder)


def _make_importable(folder: str) -> None:
    """Put a folder onto the import path, behind the standard library and ahead of all else."""
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.path.insert(1 + max((at for at, entry in enumerate(sys.path) if is_standard(entry)), default=-1), folder)


def _file(where: str, here: Path) -> Path | None:
    """Return the file that is named, or that a dotted name means here though Python would take another; None if neither."""
    if not where:
        raise AppNotLoaded('Name the app as "module:app" or "folder/file.py:app".')
    if "/" in where or where.endswith(".py"):
        file = here / where
        if not file.is_file():
            raise AppNotLoaded(f"There is no file {where!r} in {here}.")
        return _absolute(file)
    beside = here.joinpath(*where.split("."))
    found = [file for file in (beside / "__init__.py", beside.with_name(f"{beside.name}.py")) if file.is_file()]
    return _absolute(found[0]) if found and not _leads_into(where, here) else None


def _absolute(file: Path) -> Path:
    """Return the path without `..`; symbolic links stay, since what lies beside the link belongs to the app."""
    return Path(os.path.abspath(file))  # noqa: PTH100 - Path.resolve follows links


def _load(file: Path, here: Path) -> ModuleType:
    """Import exactly this file: by a name that leads to it, or else by a name of ours."""
    root = _root(file)
    _make_importable(str(root.parent))
    for name, base in _names(file, here):
        if _leads_into(name, base) and (spec := importlib.util.find_spec(name)) and spec.origin == str(file):
            return _execute(spec, root.stem if root == file and _is_free(root.stem, root.parent) else name)
    name = "headway_app_" + re.sub(r"\W", "_", root.stem)
    if root == file:
        return _execute(_spec(name, file), name)
    _execute(_spec(name, root / "__init__.py", root), name)
    inner = _dotted(file, root)
    return importlib.import_module(f"{name}.{inner}" if inner else name)


def _spec(name: str, file: Path, package: Path | None = None) -> ModuleSpec:
    folders = None if package is None else [str(package)]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None:
        raise ImportError(f"{file} is not a Python module")
    return spec


def _execute(spec: ModuleSpec, alias: str) -> ModuleType:
    """Import a module; under its alias as well, so that what lies beside it gets the same one by its plain name."""
    if spec.name in sys.modules:
        return sys.modules[spec.name]
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None, "it is a file"
    for name in (spec.name, alias):
        sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for name in (spec.name, alias):
            sys.modules.pop(name, None)
        raise
    if spec.parent and spec.parent != spec.name:
        setattr(sys.modules[spec.parent], spec.name.rpartition(".")[2], module)
    return module


def _names(file: Path, here: Path) -> list[tuple[str, Path]]:
    """Return the dotted names that a file may have, the best first, each with the folder from which it is imported."""
    root = _root(file)
    bases = (here, root.parent) if root == file else (root.parent, here)
    found = [(_dotted(file, base), base) for base in bases if file.is_relative_to(base)]
    return [(name, base) for name, base in found if name and all(part.isidentifier() for part in name.split("."))]


def _root(file: Path) -> Path:
    """Return the outermost package that a file lies in, or the file if it is in none."""
    root = file
    while (root.parent / "__init__.py").is_file():
        root = root.parent
    return root


def _dotted(file: Path, base: Path) -> str:
    parts = file.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1:] == (_INIT,) else parts)


def _leads_into(name: str, folder: Path) -> bool:
    """Tell whether the first part of a dotted name is imported from a folder."""
    origins = _origins(name.partition(".")[0])
    return any(Path(origin).parent == folder for origin in origins)


def _is_free(name: str, folder: Path) -> bool:
    return name not in sys.modules and _leads_into(name, folder)


def _origins(name: str) -> list[str]:
    """Return the file, or the folders, that a module or package is imported from."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # it was made by a program
        return []
    if spec is None:
        return []
    return list(spec.submodule_search_locations or [spec.origin or ""])


# -- what is said -------------------------------------------------------------------------------------------------------


def _not_loaded(where: str, file: Path | None, here: Path, error: BaseException) -> AppNotLoaded:
    """Return the error to raise for a failed import."""
    if file is None and isinstance(error, ModuleNotFoundError) and f"{where}.".startswith(f"{error.name}."):
        return AppNotLoaded(_nowhere(where, here))
    called = f"{where!r} cannot be imported"
    if isinstance(error, ModuleNotFoundError) and error.name:
        detail = f"{called}: it needs {error.name!r}, which is not installed."
    else:
        detail = f"{called}: {type(error).__name__}: {' '.join(str(error).split())}"
    if hidden := _hidden(error, here if file is None else _root(file).parent):
        detail = f"{detail.rstrip('.')}.{hidden}"
    failure = AppNotLoaded(detail)
    failure.traceback = _traceback(error)
    return failure


def _nowhere(where: str, here: Path) -> str:
    top = where.partition(".")[0]
    origins = [origin for origin in _origins(top) if Path(origin).parent != here]
    meant = f": Python takes {top!r} from {origins[0]}" if origins else ""
    return f"There is no module {where!r} in {here} or on Python's path{meant}."


def _taken(file: Path, here: Path) -> str:
    name = (_names(file, here) or [(file.stem, here)])[0][0]
    origins = _origins(name.partition(".")[0]) or ["no folder of its own"]
    return f"{file} has no module name of its own: Python takes {name.partition('.')[0]!r} from {origins[0]}."


def _hidden(error: BaseException, folder: Path) -> str:
    """Return a sentence about the file beside the app that was not imported, if an error comes of that."""
    name = error.name if isinstance(error, ImportError) else None
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        name = error.obj.__name__
    top = (name or "").partition(".")[0]
    beside = next((path for path in (folder / f"{top}.py", folder / top) if top and path.exists()), None)
    origins = _origins(top) if beside is not None else []
    if beside is None or not origins or Path(origins[0]).parent == folder:
        return ""
    return f" {top!r} is imported from {origins[0]}, and not from {beside}: rename that."


def _called(module: ModuleType) -> str:
    origin = getattr(module, "__file__", None)
    return f"module {module.__name__!r}" + (f" ({origin})" if origin else "")


def _traceback(error: BaseException) -> str:
    """Return the traceback from the user's first line on."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _is_ours(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen importlib") or filename == importlib.__file__
