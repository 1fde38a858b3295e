"""Shell completion of commands, options, task names and run ids: `headway completion`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from headway.cli.command import Command
from headway.cli.printable import one_line
from headway.cli.session import Session
from headway.errors import HeadwayError

if TYPE_CHECKING:
    from headway.client.sync.client import Client

SHELLS: Final = ("bash", "zsh", "fish")
RUNS_MAX: Final = 100
"""Number of newest runs that are offered."""

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print the script by which a shell completes commands, options, tasks and runs.

    \b
        source <(headway completion bash)    # in ~/.bashrc
        source <(headway completion zsh)     # in ~/.zshrc, after compinit
        headway completion fish > ~/.config/fish/completions/headway.fish

    Names of tasks and runs come from the server of HEADWAY_URL or --url; none are offered while it cannot be reached.
    """  # noqa: D301
    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(ctx.find_root().command, {}, "headway", "_HEADWAY_COMPLETE").source())


def _offered(listed: Callable[[Client], Iterable[CompletionItem]]) -> Completer:
    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del parameter
        shown = ctx.find_root().obj
        try:
            with (shown if isinstance(shown, Session) else Session()).client() as client:
                return [item for item in listed(client) if _safe(item.value) and item.value.startswith(incomplete)]
        except HeadwayError:
            return []

    return complete


def _safe(text: str) -> bool:
    """Return whether a shell takes the text literally: it inserts offered texts, and `;` would begin a command."""
    return shlex.quote(text) == text


def _tasks(client: Client) -> Iterable[CompletionItem]:
    return (
        CompletionItem(task.name, help=one_line(task.description.partition("\n")[0])) for task in client.tasks.list()
    )


def _runs(client: Client) -> Iterable[CompletionItem]:
    newest = islice(client.runs.list(page_size=RUNS_MAX).runs(), RUNS_MAX)
    return (CompletionItem(run.id, help=f"{run.task} {run.state}") for run in newest)


tasks: Final = _offered(_tasks)
"""Complete the name of a task."""
runs: Final = _offered(_runs)
"""Complete the id of a run."""
