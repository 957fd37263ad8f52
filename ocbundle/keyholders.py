"""Who can open a bundle: recipients, to whom it is sealed, and identities, which open it.

Implements section 6 of the specification, as far as it is about their texts and files. It and ``sealing`` alone know
pyrage. No secret ever stands in a message, a ``repr`` or a log.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pyrage

from ocbundle import agefile, agetext, limits, paths
from ocbundle.agefile import Random
from ocbundle.errors import DamagedBundle, InvalidIdentity, InvalidRecipient, InvalidRequest, WrongPassphrase

Ask = Callable[[str], str]
"""``ask(file name)`` gives the passphrase that protects an identity file."""

_MAX_KEY_FILE: Final = limits.MIB
_SSH_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----")


# --- recipients -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a bundle is sealed to. *text* is what age's ``-r`` takes, without an SSH key's comment."""

    text: str
    kind: str
    """``X25519``, ``ssh-ed25519``, ``ssh-rsa``, ``p256tag``, ``mlkem768p256tag`` or ``plugin:NAME``."""
    handle: Any = field(repr=False, compare=False)
    """What pyrage knows it by."""

    @property
    def is_post_quantum(self) -> bool:
        """Whether it must not share a header with classic recipients (age's ``postquantum`` label)."""
        return self.kind == "mlkem768p256tag"


def parse_recipient(text: str) -> Recipient:
    """Read one recipient: ``age1…``, ``age1tag1…``, ``age1tagpq1…``, a plugin's, ``ssh-ed25519 …`` or ``ssh-rsa …``.

    Raises:
        InvalidRecipient: it isn't one, or of a kind that the age library here doesn't have.
    """
    text = text.strip()
    shown = paths.display(text if len(text) < 80 else text[:60] + "…")
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise InvalidRecipient(
            "a secret key was given as a recipient",
            hint="give its public key, the age1… that stands in the identity file; and treat this secret as exposed",
        )
    try:
        return _parse_recipient(text)
    except (pyrage.RecipientError, ValueError) as error:
        raise InvalidRecipient(
            f"not a recipient: {shown}", hint="age1…, ssh-ed25519 … or ssh-rsa … are; a file goes to -R"
        ) from error


def _parse_recipient(text: str) -> Recipient:
    if text.startswith(("ssh-ed25519 ", "ssh-rsa ")):
        kind, key = text.split()[:2]
        return Recipient(f"{kind} {key}", kind, pyrage.ssh.Recipient.from_str(f"{kind} {key}"))
    if text.startswith("age1tagpq1"):
        return Recipient(text, "mlkem768p256tag", pyrage.tagpq.Recipient.from_str(text))
    if text.startswith("age1tag1"):
        return Recipient(text, "p256tag", pyrage.tag.Recipient.from_str(text))
    if text.startswith("age1pq1"):
        raise InvalidRecipient(
            "age1pq1… recipients (native post-quantum keys) can't be sealed to yet",
            hint="the age library used here has age1…, age1tag1…, age1tagpq1…, SSH and plugin recipients",
        )
    if text.startswith("age1") and "1" in text[4:]:
        plugin = pyrage.plugin.Recipient.from_str(text)
        name = plugin.plugin()
        handle = _with_plugin(
            name, InvalidRecipient, lambda: pyrage.plugin.RecipientPluginV1(name, [plugin], [], _Callbacks())
        )
        return Recipient(text, f"plugin:{name}", handle)
    return Recipient(text, "X25519", pyrage.x25519.Recipient.from_str(text))


def read_recipients(path: str | os.PathLike[str]) -> list[Recipient]:
    """The recipients in a file, one a line; ``#`` begins a comment.

    Raises:
        InvalidRecipient: a line is none; the message names the line.
        OSError: the file can't be read.
    """
    name = paths.display(os.fsencode(path))
    recipients = []
    for number, line in enumerate(_read_key_file(path).decode("utf-8", "replace").splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                recipients.append(parse_recipient(line))
            except InvalidRecipient as error:
                # Neither the line nor the cause, which repeats it: people do point -R at a private key.
                raise InvalidRecipient(f"{name}: line {number} isn't a recipient", path=name, hint=error.hint) from None
    if not recipients:
        raise InvalidRecipient(f"{name} holds no recipient", path=name)
    return recipients


class _Callbacks:
    """Answers to an age plugin. Packing must go without a person, so every question is declined."""

    def display_message(self, message: str) -> None:
        """Ignore it."""

    def confirm(self, message: str, yes_string: str, no_string: str | None) -> bool | None:  # noqa: ARG002
        """Decline."""
        return None

    def request_public_string(self, description: str) -> str | None:  # noqa: ARG002
        """Decline."""
        return None

    def request_passphrase(self, description: str) -> str | None:  # noqa: ARG002
        """Decline."""
        return None


def _with_plugin(name: str, failure: type[InvalidRequest], make: Callable[[], Any]) -> Any:  # noqa: ANN401 - pyrage's
    try:
        return make()
    except Exception as error:
        raise failure(
            f"age plugin {paths.display(name)} can't be used",
            hint=f"install age-plugin-{paths.display(name)} so that it is on the PATH",
        ) from error


# --- identities -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """What opens a bundle. *label* says where it came from; the secret never shows."""

    label: str
    recipient: str | None
    """The recipient that it opens, where that can be told without a person."""
    handle: Any = field(repr=False, compare=False)
    """What pyrage knows it by."""

    @property
    def is_plugin(self) -> bool:
        """Whether an age plugin holds the secret."""
        return self.recipient is None


def generate_identity(*, now: dt.datetime, random: Random = os.urandom) -> tuple[str, str]:
    """A new identity: the text of an age identity file as ``age-keygen`` writes it, and its recipient."""
    secret = random(32)
    recipient = agetext.encode_recipient(agefile.x25519_public(secret))
    created = now.isoformat(timespec="seconds")
    return f"# created: {created}\n# public key: {recipient}\n{agetext.encode_identity(secret)}\n", recipient


def read_identities(path: str | os.PathLike[str], ask: Ask | None = None) -> tuple[Identity, ...]:
    """The identities in a file: an age identity file, that file sealed to a passphrase, or an SSH private key.

    *ask* is called with the file's name if a passphrase protects it.

    Raises:
        InvalidIdentity: it holds none that can be used, or needs a passphrase and *ask* is ``None``.
        WrongPassphrase: what *ask* gave doesn't open it.
        OSError: the file can't be read.
    """
    name = paths.display(os.fsencode(path))
    return parse_identities(_read_key_file(path), name, ask)


def parse_identities(data: bytes, name: str, ask: Ask | None = None) -> tuple[Identity, ...]:
    """As :func:`read_identities`, from the bytes of a file called *name*."""
    if _SSH_BEGIN.search(data):
        return (_ssh_identity(data, name, ask),)
    if data.startswith(agefile.MAGIC) or data.lstrip().startswith(b"-----BEGIN AGE ENCRYPTED FILE-----"):
        data = _open_identity_file(data, name, ask)
    identities = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            identities.append(_age_identity(line.strip(), f"{name}: line {number}"))
    if not identities:
        raise InvalidIdentity(f"{name} holds no identity", path=name)
    return tuple(identities)


def _age_identity(text: str, label: str) -> Identity:
    hint = "an identity is a line AGE-SECRET-KEY-1…, as age-keygen or ocbundle keygen writes it"
    if text.startswith("AGE-PLUGIN-"):
        try:
            plugin = pyrage.plugin.Identity.from_str(text)
        except (pyrage.IdentityError, ValueError) as error:
            raise InvalidIdentity(f"{label} isn't an identity", hint=hint) from error
        name = plugin.plugin()
        handle = _with_plugin(
            name, InvalidIdentity, lambda: pyrage.plugin.IdentityPluginV1(name, [plugin], _Callbacks())
        )
        return Identity(label, None, handle)
    try:
        identity = pyrage.x25519.Identity.from_str(text)
    except (pyrage.IdentityError, ValueError):
        # The cause is dropped: it could repeat the line.
        raise InvalidIdentity(f"{label} isn't an identity", hint=hint) from None
    return Identity(label, str(identity.to_public()), identity)


def _open_identity_file(data: bytes, name: str, ask: Ask | None) -> bytes:
    try:
        binary = agetext.dearmor(data)
        header = agefile.parse_header(binary, max_length=limits.MAX_AGE_HEADER)
        if not agefile.is_passphrase(header):
            raise InvalidIdentity(f"{name} is an age file, but not one sealed to a passphrase", path=name)
        if ask is None:
            raise InvalidIdentity(f"{name} is protected by a passphrase, and none was given", path=name)
        return agefile.open_passphrase(binary, header, ask(name), max_work_factor=limits.SCRYPT_MAX_WORK_FACTOR)
    except WrongPassphrase as error:
        raise WrongPassphrase(f"the passphrase of {name} is wrong", path=name) from error
    except DamagedBundle as error:
        raise InvalidIdentity(f"{name} is damaged: {error.message}", path=name) from error


def _ssh_identity(data: bytes, name: str, ask: Ask | None) -> Identity:
    from ocbundle import sshkeys  # noqa: PLC0415 - most keys are age's own, and don't wait for it

    plain, public = sshkeys.unlock(data, name, ask)
    try:
        return Identity(name, public, pyrage.ssh.Identity.from_buffer(plain))
    except (pyrage.IdentityError, ValueError):
        raise InvalidIdentity(f"{name} is an SSH key that can't be used", path=name) from None


def _read_key_file(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_MAX_KEY_FILE + 1)
    if len(data) > _MAX_KEY_FILE:
        raise InvalidRequest(f"{paths.display(os.fsencode(path))} is too long for a file of keys")
    return data
