"""API keys: `headway keys`."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any, Final

import click

from headway.cli import finding, session, show
from headway.cli.admin import folder_wanted, make_folder_option, reporting_errors
from headway.cli.command import Group
from headway.kernel.authority import GRANTABLE, OPERATING, READING
from headway.protocol.access import CreateKey, KeyOut

GROUPS: Final = {"all": GRANTABLE, "read": READING, "worker": ("worker:protocol",)}
"""Short words for many scopes."""


@click.group(cls=Group)
def keys() -> None:
    """Make, list, rotate and revoke keys."""


@keys.command("generate")
def generate() -> None:
    """Print the text of a new key that no store knows yet, for HEADWAY_BOOTSTRAP_KEY of a server's first start.

    \b
        headway keys generate > first.key && chmod 600 first.key
        HEADWAY_BOOTSTRAP_KEY_FILE=first.key headway serve
    """  # noqa: D301
    from headway.protocol import keytext  # noqa: PLC0415 - only where it is asked for

    text = str(keytext.new())
    if session.current().json:
        show.as_json({"key": text})
    else:
        click.echo(text)


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE",
    help="Scope; may be repeated. all, read and worker stand for several. Default: read",
)  # fmt: skip
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Bind a worker's key to this queue.")
@click.option("--expires", metavar="DURATION", help="Validity of the key. Default: until it is revoked")
@click.option("--user", "user_id", metavar="ID", help="User of the key.")
@click.option("--per-minute", type=click.IntRange(1), help="Requests per minute.")
@click.option("--per-day", type=click.IntRange(1), help="Requests per day.")
@click.option("--organisation", metavar="ID", help="Id of another organisation; needs a key of the first one.")
@click.option("--store", metavar="URL", help="Make the key in this store without a server, as for the first key.")
@make_folder_option
def create(name: str, store: str | None, make_folder: bool, **options: Any) -> None:
    """Make a key and print it; it cannot be shown again. The first one has to have the scope key:admin.

    \b
        export HEADWAY_KEY=$(headway keys create admin --scope all --store sqlite:///headway.db)
    """  # noqa: D301
    scopes = _scopes(options["scopes"], elsewhere=options["organisation"] is not None)
    queues = list(options["queues"]) or None
    if store is not None:
        from headway.serving.offline import create_key  # noqa: PLC0415 - only where there is no server

        asked = CreateKey(
            name=name, scopes=scopes, queues=queues, user_id=options["user_id"], expires_in=options["expires"],
            per_minute=options["per_minute"], per_day=options["per_day"], organisation=options["organisation"],
        )  # fmt: skip
        with reporting_errors():
            key_id, text, organisation = create_key(store, asked, make_folder=folder_wanted(store, make=make_folder))
        if session.current().json:
            show.as_json({"id": key_id, "organisation": organisation, "key": text})
        else:
            _print_key(key_id, text, organisation)
        return
    with session.current().client() as client:
        made = client.keys.create(
            name, scopes=scopes, queues=queues, user_id=options["user_id"], expires_in=options["expires"],
            per_minute=options["per_minute"], per_day=options["per_day"], organisation=options["organisation"],
        )  # fmt: skip
    _answer(made)


def _scopes(said: tuple[str, ...], *, elsewhere: bool) -> list[str] | None:
    if not said:
        return None
    found = dict.fromkeys(scope for word in said for scope in GROUPS.get(word, (word,)))
    return [scope for scope in found if not (elsewhere and scope in OPERATING and scope not in said)]


def _answer(made: KeyOut) -> None:
    if session.current().json:
        show.as_json(made)
    elif made.key is None:
        click.echo(
            f"The key {made.id} was made by an earlier try of this request; its text is lost: rotate it.", err=True
        )
    else:
        _print_key(made.id, made.key, made.organisation)


def _print_key(key_id: str, text: str, organisation: str) -> None:
    """Print nothing but the key on stdout, so that it can be redirected without being seen.

    stderr has the secret only where the key itself is seen.
    """
    secret = text.removeprefix(f"hw_{key_id}_") if show.on_a_terminal() else f"what follows hw_{key_id}_ in the key"
    try:
        click.echo(text)
    finally:  # also if the key could not be written: it has to be found, to be revoked
        click.echo(
            f"This is the key {key_id}. It is not shown again.\n"
            "Put it into HEADWAY_KEY, or into a file that HEADWAY_KEY_FILE names.\n"
            "Clients of Tadabase's API show it in three headers:\n"
            f"  X-Tadabase-App-id: {organisation}\n"
            f"  X-Tadabase-App-Key: {key_id}\n"
            f"  X-Tadabase-App-Secret: {secret}",
            err=True,
        )


@keys.command("list")
@click.option("--all", "everything", is_flag=True, help="Include revoked and expired keys.")
def list_(everything: bool) -> None:
    """List the keys."""
    with session.current().client() as client:
        found = [key for key in client.keys.list() if everything or key.state == "active"]
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [key.id, key.name, key.state, ",".join(key.queues or []) or "any", show.age(key.last_used_at),
         key.expires_at or "never", _in_short(key.scopes)]
        for key in found
    ]  # fmt: skip
    columns = ("KEY", "NAME", "STATE", "QUEUES", "LAST USED", "EXPIRES", "SCOPES")
    show.table(columns, rows, empty="No keys.", ids=("KEY",), names=("NAME",), texts=("SCOPES", "QUEUES"))


def _in_short(scopes: Collection[str]) -> str:
    """Return the word for exactly these scopes, or else all of them."""
    named = (word for word, group in GROUPS.items() if set(scopes) == set(group))
    return next(named, " ".join(scopes))


@keys.command("show")
@click.argument("key_id", metavar="KEY")
def show_(key_id: str) -> None:
    """Show a key without its secret."""
    with session.current().client() as client:
        key = client.keys.get(finding.key_id(client, key_id))
    if session.current().json:
        show.as_json(key)
        return
    show.pairs(
        [
            ("key", key.id), ("name", key.name), ("state", key.state), ("user", key.user_id),
            ("scopes", " ".join(key.scopes)), ("queues", ", ".join(key.queues or []) or None),
            ("per minute", key.per_minute), ("per day", key.per_day), ("created", key.created_at),
            ("expires", key.expires_at), ("revoked", key.revoked_at), ("last used", key.last_used_at),
            ("secrets", ", ".join(f"{one.number} until {one.expires_at or 'the end'}" for one in key.secrets)),
        ]
    )  # fmt: skip


@keys.command("rotate")
@click.argument("key_id", metavar="KEY")
@click.option(
    "--overlap", default="24h", show_default=True, metavar="DURATION", help="Time for which the old secret stays valid."
)
def rotate(key_id: str, overlap: str) -> None:
    """Give a key a new secret and print it; the old one works for the overlap."""
    with session.current().client() as client:
        _answer(client.keys.rotate(finding.key_id(client, key_id), overlap=overlap))


@keys.command("revoke")
@click.argument("key_id", metavar="KEY")
def revoke(key_id: str) -> None:
    """Revoke a key at once, and close its streams and sessions."""
    with session.current().client() as client:
        key_id = finding.key_id(client, key_id)
        show.answer(client.keys.revoke(key_id), f"{key_id} is revoked")


@keys.command("whoami")
def whoami() -> None:
    """Show the identity and scopes of your key."""
    with session.current().client() as client:
        who = client.whoami()
    if session.current().json:
        show.as_json(who)
        return
    show.pairs(
        [
            ("actor", who.actor), ("key", who.key_id), ("user", who.user_id),
            ("organisation", f"{who.organisation.name} {who.organisation.id}"), ("scopes", " ".join(who.scopes)),
            ("queues", ", ".join(who.queues or []) or None), ("server", os.environ.get("HEADWAY_URL")),
        ]
    )  # fmt: skip
