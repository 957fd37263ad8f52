"""Who can open a bundle: recipients, identities, passphrases, and the bundle key that they wrap.

Implements section 6 of the specification. The only module that knows pyrage.
No secret ever stands in a message, a ``repr`` or a log.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyrage

from ocbundle import agefile, limits, paths
from ocbundle.agefile import Random
from ocbundle.errors import (
    AuthenticationFailed,
    DamagedBundle,
    InvalidIdentity,
    InvalidRecipient,
    InvalidRequest,
    KeyRequired,
    LimitExceeded,
    Malformed,
    NoKeyFits,
    WrongPassphrase,
)

Ask = Callable[[str], str]
"""``ask(file name)`` gives the passphrase that protects an identity file."""

_UNNAMED_RECIPIENT: Final = "passphrase"
"""What stands for a passphrase in a list of recipients."""
_MAX_KEY_FILE: Final = limits.MIB
_TAMPERED: Final = {
    "Decryption failed",
    "decryption error",
    "Header MAC is invalid",
    "Header is invalid",
    "age file is truncated",
    "failed to fill whole buffer",
}
"""What pyrage says of a changed file; anything else, where a plugin had a part, is the plugin's failure."""
_SSH_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----")


# --- the bundle key -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BundleKey:
    """The X25519 identity that everything but KEYS is sealed to."""

    secret: bytes = field(repr=False)
    _identity: agefile.X25519Identity = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Derive the public key once, and not for each section."""
        object.__setattr__(self, "_identity", agefile.X25519Identity(self.secret))

    @classmethod
    def generate(cls, random: Random) -> BundleKey:
        """A fresh key: one for each bundle (R-6.7)."""
        return cls(random(32))

    @property
    def text(self) -> bytes:
        """The canonical text, ``AGE-SECRET-KEY-1…``: what keys the frame MAC."""
        return agefile.encode_identity(self.secret).encode("ascii")

    def seal(self, plaintext: bytes, random: Random) -> bytes:
        """*plaintext* as an age file to this key."""
        return bytes(self.seal_into(bytearray, plaintext, random))

    def seal_into(self, take: Callable[[int], bytearray], plaintext: bytes, random: Random) -> memoryview:
        """:meth:`seal`, in memory of which *take* gives as much as it is asked for, or more."""
        public = self._identity.public
        return agefile.seal_into(
            take, plaintext, lambda file_key: agefile.wrap_x25519(file_key, public, random), random
        )

    def open(self, body: bytes) -> bytearray:
        """The plaintext of a SEGM, ENTR or MANI body.

        Raises:
            Malformed, LimitExceeded: its header breaks R-6.1 to R-6.3.
            AuthenticationFailed: it isn't sealed to this key, or was changed.
        """
        header = agefile.parse_header(body, max_length=limits.MAX_AGE_HEADER)
        stanzas = [stanza for stanza in header.stanzas if stanza.type == "X25519"]
        others = [stanza.type for stanza in header.stanzas if stanza.type != "X25519"]
        if len(stanzas) != 1 or not all(kind.endswith("-grease") for kind in others):
            raise Malformed("a section isn't sealed to one X25519 recipient", rule="R-6.3")
        file_key = self._identity.unwrap(stanzas[0])
        if file_key is None:
            raise AuthenticationFailed("a section is sealed to another key", rule="R-6.3")
        return agefile.open_payload(body, header, file_key)


# --- recipients -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a bundle is sealed to. *text* is what age's ``-r`` takes, without an SSH key's comment."""

    text: str
    kind: str
    """``X25519``, ``ssh-ed25519``, ``ssh-rsa``, ``p256tag``, ``mlkem768p256tag`` or ``plugin:NAME``."""
    _handle: Any = field(repr=False, compare=False)

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
    _handle: Any = field(repr=False, compare=False)

    @property
    def is_plugin(self) -> bool:
        """Whether an age plugin holds the secret."""
        return self.recipient is None


def generate_identity(*, now: dt.datetime, random: Random = os.urandom) -> tuple[str, str]:
    """A new identity: the text of an age identity file as ``age-keygen`` writes it, and its recipient."""
    secret = random(32)
    recipient = agefile.encode_recipient(agefile.x25519_public(secret))
    created = now.isoformat(timespec="seconds")
    return f"# created: {created}\n# public key: {recipient}\n{agefile.encode_identity(secret)}\n", recipient


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
        binary = agefile.dearmor(data)
        header = agefile.parse_header(binary, max_length=limits.MAX_KEYS_AGE_HEADER)
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


# --- KEYS -----------------------------------------------------------------------------------------------------------


def wrap(
    key: BundleKey, bundle_id: bytes, recipients: Sequence[Recipient], passphrase: str | None, random: Random
) -> list[bytes]:
    """The bodies of the KEYS sections that give *key* to the recipients and the passphrase (R-6.6).

    Raises:
        InvalidRequest: nobody could open the bundle, or one section would have too many recipients.
        InvalidRecipient: a plugin fails.
    """
    if not recipients and passphrase is None:
        raise InvalidRequest("no recipient and no passphrase: nobody could open the bundle")
    if passphrase == "":
        raise InvalidRequest("the passphrase is empty")
    bodies = []
    if passphrase is not None:
        plaintext = _keys_plaintext(key, bundle_id, [_UNNAMED_RECIPIENT])
        bodies.append(agefile.seal_passphrase(plaintext, passphrase, random, work_factor=limits.SCRYPT_WORK_FACTOR))
    unique = list({recipient.text: recipient for recipient in recipients}.values())
    for group in (
        [recipient for recipient in unique if not recipient.is_post_quantum],
        [recipient for recipient in unique if recipient.is_post_quantum],
    ):
        if len(group) > limits.MAX_RECIPIENTS:
            raise InvalidRequest(f"{len(group)} recipients, at most {limits.MAX_RECIPIENTS} fit")
        if group:
            plaintext = _keys_plaintext(key, bundle_id, [recipient.text for recipient in group])
            bodies.append(_encrypt(plaintext, group))
    return bodies


def _encrypt(plaintext: bytes, group: Sequence[Recipient]) -> bytes:
    try:
        body = pyrage.encrypt(plaintext, [recipient._handle for recipient in group])  # noqa: SLF001 - its own module
    except pyrage.EncryptError as error:
        raise InvalidRecipient(f"sealing to the recipients failed: {paths.display(str(error))}") from error
    if len(body) > limits.MAX_KEYS_BODY:
        raise InvalidRequest(f"the keys of {len(group)} recipients don't fit one bundle")
    return body


def _keys_plaintext(key: BundleKey, bundle_id: bytes, recipients: Iterable[str]) -> bytes:
    lines = [f"# bundle: {bundle_id.hex()}", *(f"# recipient: {text}" for text in recipients), key.text.decode("ascii")]
    plaintext = "".join(f"{line}\n" for line in lines).encode()
    if len(plaintext) > limits.MAX_KEYS_PLAINTEXT:
        raise InvalidRequest("the recipients' keys are too long to be listed in one bundle")
    return plaintext


def recipient_kinds(body: bytes) -> tuple[str, ...]:
    """The types of the stanzas in a KEYS body, without grease: what anyone can see of the recipients."""
    header = agefile.parse_header(body, max_length=limits.MAX_KEYS_AGE_HEADER)
    return tuple(stanza.type for stanza in header.stanzas if not stanza.type.endswith("-grease"))


def unwrap(
    bodies: Sequence[bytes],
    bundle_id: bytes | None,
    identities: Sequence[Identity],
    passphrase: str | None,
    *,
    max_work_factor: int = limits.SCRYPT_READ_WORK_FACTOR,
) -> BundleKey:
    """The bundle key, from whichever KEYS body the identities or the passphrase open.

    *bundle_id* is ``None`` only for salvage, where the bundle has lost what says it.

    Raises:
        KeyRequired: neither was given.
        NoKeyFits: no identity opens any body.
        WrongPassphrase: only a passphrase was given, and it is another one.
        Malformed, LimitExceeded, AuthenticationFailed: a body breaks a rule of section 6.
    """
    headers = [agefile.parse_header(body, max_length=limits.MAX_KEYS_AGE_HEADER) for body in bodies]
    by_passphrase = [agefile.is_passphrase(header) for header in headers]
    if sum(by_passphrase) > 1:
        raise Malformed("two KEYS sections are sealed to a passphrase", rule="R-6.4")
    if not identities and passphrase is None:
        needed = "a passphrase" if all(by_passphrase) else "an identity"
        raise KeyRequired(f"the bundle is encrypted, and opening it needs {needed}")
    for body, is_passphrase in zip(bodies, by_passphrase, strict=True):
        if not is_passphrase and identities and (plaintext := _decrypt(body, identities)) is not None:
            return _parse_keys(plaintext, bundle_id)
    if passphrase is not None and any(by_passphrase):
        number = by_passphrase.index(True)
        try:
            plaintext = agefile.open_passphrase(
                bodies[number], headers[number], passphrase, max_work_factor=max_work_factor
            )
        except WrongPassphrase:
            if identities:
                raise NoKeyFits("neither the identities nor the passphrase open the bundle") from None
            raise
        return _parse_keys(plaintext, bundle_id)
    raise _no_key_fits(identities, passphrase, by_passphrase)


def _no_key_fits(identities: Sequence[Identity], passphrase: str | None, by_passphrase: Sequence[bool]) -> NoKeyFits:
    if passphrase is not None and not identities:
        return NoKeyFits("the bundle isn't sealed to a passphrase", hint="give an identity file with -i")
    if all(by_passphrase):
        return NoKeyFits("the bundle is sealed to a passphrase, not to keys", hint="open it with -p")
    tried = ", ".join(sorted({identity.label.partition(": line ")[0] for identity in identities}))
    return NoKeyFits(
        f"no identity in {tried} opens the bundle", hint="ocbundle inspect shows which kinds of key it is sealed to"
    )


def _decrypt(body: bytes, identities: Sequence[Identity]) -> bytes | None:
    try:
        return pyrage.decrypt(body, [identity._handle for identity in identities])  # noqa: SLF001 - its own module
    except pyrage.DecryptError as error:
        if "No matching keys found" in str(error):
            return None
        if str(error) not in _TAMPERED and any(identity.is_plugin for identity in identities):
            raise NoKeyFits(
                f"an age plugin couldn't open the bundle: {paths.display(str(error))}",
                hint="is its token there, and does it need a person?",
            ) from error
        raise AuthenticationFailed("a KEYS section was changed", rule="R-6.1") from error


def _parse_keys(plaintext: bytes, bundle_id: bytes | None) -> BundleKey:
    if len(plaintext) > limits.MAX_KEYS_PLAINTEXT:
        raise LimitExceeded("a KEYS section's text is too long", rule="R-6.8")
    try:
        lines = plaintext.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise Malformed("a KEYS section's text isn't UTF-8", rule="R-6.5") from None
    if bundle_id is not None and f"# bundle: {bundle_id.hex()}" not in lines:
        raise AuthenticationFailed("a KEYS section comes from another bundle", rule="R-6.5")
    keys = [line for line in lines if line and not line.startswith("#")]
    if len(keys) != 1:
        raise Malformed("a KEYS section doesn't hold one key", rule="R-6.5")
    return BundleKey(agefile.decode_identity(keys[0]))
