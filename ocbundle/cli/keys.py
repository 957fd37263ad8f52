"""Keys and passphrases: from flags, from the environment, or from the person at the terminal.

A secret is never an argument, never in a message, and never in a ``repr``. Flags win over the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import click

from ocbundle import keyholders
from ocbundle.bundle import Bundle
from ocbundle.cli.console import Console
from ocbundle.errors import BundleError, DamagedBundle, InvalidRequest, KeyRequired

PASSPHRASE_SOURCES: Final = ("OCBUNDLE_PASSPHRASE_FILE", "OCBUNDLE_PASSPHRASE_FD", "OCBUNDLE_PASSPHRASE_COMMAND")
MAX_PASSPHRASE: Final = 1 << 16
ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no two signs that look alike."""
GROUPS: Final = 7
"""Seven groups of four signs are 140 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """What a new bundle is sealed to."""

    recipients: tuple[keyholders.Recipient, ...] = ()
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What a bundle may be opened with."""

    identities: tuple[keyholders.Identity, ...] = field(default=(), repr=False)
    passphrase: str | None = field(default=None, repr=False)


def locks(
    console: Console,
    *,
    recipients: Sequence[str] = (),
    recipients_files: Sequence[str] = (),
    identity_files: Sequence[str] = (),
    passphrase: bool = False,
    required: bool = True,
) -> Locks:
    """What to seal a new bundle to. Unless it's *required*, nobody is asked.

    Raises:
        click.UsageError: nothing was said, and there is nobody to ask.
        InvalidRecipient: one of them isn't one.
    """
    environ = console.environ
    from_environment = not (recipients or recipients_files or identity_files or passphrase)
    if from_environment:
        recipients = environ.get("OCBUNDLE_RECIPIENTS", "").replace(",", "\n").splitlines()
        recipients_files = [path] if (path := environ.get("OCBUNDLE_RECIPIENTS_FILE")) else []
    found = [keyholders.parse_recipient(text.strip()) for text in recipients if text.strip()]
    for path in recipients_files:
        found += keyholders.read_recipients(_standard_input(path))
    for path in identity_files:
        identities = keyholders.read_identities(_standard_input(path), ask=_Asker(console))
        found += [_recipient(identity) for identity in identities]
    secret = None
    if passphrase or (from_environment and any(environ.get(name) for name in PASSPHRASE_SOURCES)):
        secret = _configured(console)
        if secret is None and required:
            secret = _new_passphrase(console)
    elif not found and required:
        secret = _new_passphrase(console)
    return Locks(recipients=tuple(dict.fromkeys(found)), passphrase=secret)


def keys(
    console: Console,
    *,
    source: str,
    identity_files: Sequence[str] = (),
    passphrase: bool = False,
    optional: bool = False,
) -> Keys:
    """What to open the bundle *source* with; with *optional*, it may be nothing.

    Raises:
        WrongPassphrase: an identity file's passphrase doesn't open it.
        InvalidIdentity: an identity file holds no identity.
    """
    from_environment = not (identity_files or passphrase)
    if from_environment and (path := console.environ.get("OCBUNDLE_IDENTITY_FILE")):
        identity_files = [path]
    if source == "-" and "-" in identity_files:
        raise click.UsageError("standard input can't be both the bundle and the identity file")
    identities: list[keyholders.Identity] = []
    for path in identity_files:
        identities += keyholders.read_identities(_standard_input(path), ask=_Asker(console))
    secret = None
    if passphrase or from_environment:
        secret = _configured(console)
    if passphrase and secret is None:
        secret = _ask(console, "Passphrase of the bundle")
    elif not identities and secret is None and source != "-" and console.can_ask() and _only_a_passphrase(source):
        empty = ", or nothing to check it without" if optional else ""
        secret = _ask(console, f"Passphrase of the bundle{empty}", empty=optional)
    return Keys(identities=tuple(identities), passphrase=secret or None)


def _recipient(identity: keyholders.Identity) -> keyholders.Recipient:
    if identity.recipient is None:
        raise InvalidRequest(
            f"{identity.label}: a plugin's identity doesn't tell its recipient", hint="give it with -r"
        )
    return keyholders.parse_recipient(identity.recipient)


def _only_a_passphrase(source: str) -> bool:
    try:
        with Bundle.open(source) as bundle:
            return set(bundle.info.recipients) == {"scrypt"}
    except DamagedBundle:  # it is the command's to say so, or to go on
        return False


def _standard_input(path: str) -> str:
    return "/dev/stdin" if path == "-" else path


class _Asker:
    """Asks for the passphrase of an encrypted identity file or SSH key; the environment may know it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, file_name: str) -> str:
        configured = _configured(self._console)
        return _ask(self._console, f"Passphrase of {file_name}") if configured is None else configured


def _configured(console: Console) -> str | None:
    """The passphrase that the environment points to.

    Raises:
        InvalidRequest: two sources at once, or an empty passphrase.
    """
    named = [name for name in PASSPHRASE_SOURCES if console.environ.get(name)]
    if not named:
        return None
    if len(named) > 1:
        raise InvalidRequest(f"{' and '.join(named)} are both set: which passphrase is meant?")
    name, value = named[0], console.environ[named[0]]
    if name.endswith("_FILE"):
        with open(value, "rb") as file:
            data = file.read(MAX_PASSPHRASE)
    elif name.endswith("_FD"):
        data = _read_descriptor(name, value)
    else:
        data = _run(name, value)
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        # Not "from" the cause: that error carries the secret.
        raise InvalidRequest(f"{name}: the passphrase isn't UTF-8") from None
    if not text:
        raise InvalidRequest(f"{name}: the passphrase is empty")
    return text


def _read_descriptor(name: str, value: str) -> bytes:
    try:
        with open(int(value), "rb") as file:
            return file.read(MAX_PASSPHRASE)
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"{name}: '{value}' is no open file descriptor") from error


def _run(name: str, command: str) -> bytes:
    import shlex  # noqa: PLC0415 - only a command waits for them
    import subprocess  # noqa: PLC0415

    try:
        # No standard input: it may be the bundle. Standard error is the terminal's, for the command's own questions.
        result = subprocess.run(  # noqa: S603 - the command is the user's own, and no shell reads it
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
        )
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"{name}: the command can't be run: {error}") from error
    if result.returncode != 0:
        raise BundleError(f"{name}: the command failed with exit code {result.returncode}")
    return result.stdout


def _ask(console: Console, prompt: str, *, empty: bool = False) -> str:
    if not console.can_ask():
        raise KeyRequired(
            f"the {prompt[:1].lower()}{prompt[1:]} is needed, and there is no terminal to ask at",
            hint="set OCBUNDLE_PASSPHRASE_FILE, OCBUNDLE_PASSPHRASE_FD or OCBUNDLE_PASSPHRASE_COMMAND",
        )
    import getpass  # noqa: PLC0415 - only a question waits for it

    try:
        answer = getpass.getpass(f"{prompt}: ")
    except EOFError:
        console.show("")  # what follows shall not stand behind the question
        answer = ""
    if not answer and not empty:
        raise KeyRequired("no passphrase was typed")
    return answer


def _new_passphrase(console: Console) -> str:
    if not console.can_ask():
        raise click.UsageError(
            "nobody is there to type a passphrase: give -r age1…, -R FILE or -i FILE; or set OCBUNDLE_RECIPIENTS, or "
            "for a passphrase OCBUNDLE_PASSPHRASE_FILE, OCBUNDLE_PASSPHRASE_FD or OCBUNDLE_PASSPHRASE_COMMAND"
        )
    first = _ask(console, "Passphrase for the bundle (empty for a generated one)", empty=True)
    if not first:
        generated = generate()
        console.show(f"Generated passphrase, write it down now: {generated}")
        return generated
    if _ask(console, "The same passphrase again", empty=True) != first:
        raise InvalidRequest("the two passphrases differ")
    return first


def generate() -> str:
    """A passphrase that nobody guesses."""
    import secrets  # noqa: PLC0415 - only who wants one made waits for it

    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(GROUPS))
