"""Commands of the writer for tests."""

from headway.store.command import Command


class FunctionCommand(Command):
    """A command that calls a function; `attributes` are those of commands, such as `run_ids`."""

    def __init__(self, function, **attributes):
        self._function = function
        self.__dict__.update(attributes)

    def apply(self, uow):
        return self._function(uow)
