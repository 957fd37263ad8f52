"""The bundle key: what is sealed to it, and the KEYS sections that give it to recipients and passphrases.

Implements section 6 of the specification. It and ``keyholders`` alone know pyrage.
No secret ever stands in a message, a ``repr`` or a log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyrage

from ocbundle import agefile, agetext, limits, paths
from ocbundle.agefile import Random
from ocbundle.errors import (
    AuthenticationFailed,
    InvalidRecipient,
    InvalidRequest,
    KeyRequired,
    LimitExceeded,
    Malformed,
    NoKeyFits,
    WrongPassphrase,
)
from ocbundle.keyholders import Identity, Recipient
from ocbundle.memory import Take

_UNNAMED_RECIPIENT: Final = "passphrase"
"""What stands for a passphrase in a list of recipients."""
_TAMPERED: Final = {
    "Decryption failed",
    "decryption error",
    "Header MAC is invalid",
    "Header is invalid",
    "age file is truncated",
    "failed to fill whole buffer",
}
"""What pyrage says of a changed file; anything else, where a plugin had a part, is the plugin's failure."""


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
        return agetext.encode_identity(self.secret).encode("ascii")

    def seal(self, plaintext: bytes, random: Random) -> bytes:
        """*plaintext* as an age file to this key."""
        return bytes(self.seal_into(bytearray, plaintext, random))

    def seal_into(self, take: Take, plaintext: bytes, random: Random) -> memoryview:
        """:meth:`seal`, in memory of which *take* gives as much as it is asked for, or more."""
        public = self._identity.public
        return agefile.seal_into(
            take, plaintext, lambda file_key: agefile.wrap_x25519(file_key, public, random), random
        )

    def open(self, body: bytes | memoryview, take: Take = bytearray) -> memoryview:
        """The plaintext of a SEGM, ENTR or MANI body, in memory of which *take* gives as much as it is asked for.

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
        return agefile.open_payload(body, header, file_key, take)


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
            bodies += _wrap_group(key, bundle_id, group)
    if len(bodies) > limits.MAX_KEYS_SECTIONS:
        raise InvalidRequest(f"the keys of {len(unique)} recipients don't fit one bundle")
    return bodies


def _wrap_group(key: BundleKey, bundle_id: bytes, group: Sequence[Recipient]) -> list[bytes]:
    """As few sections for recipients of one group as their header (R-6.2) and their list (R-6.8) have room for."""
    plaintext = _keys_plaintext(key, bundle_id, [recipient.text for recipient in group])
    if len(plaintext) <= limits.MAX_KEYS_PLAINTEXT:
        try:
            body = pyrage.encrypt(plaintext, [recipient.handle for recipient in group])
        except pyrage.EncryptError as error:
            raise InvalidRecipient(f"sealing to the recipients failed: {paths.display(str(error))}") from error
        with contextlib.suppress(LimitExceeded):
            agefile.parse_header(body, max_length=limits.MAX_AGE_HEADER)
            return [body]
    if len(group) == 1:
        raise InvalidRequest(f"a recipient is too long for a bundle: {paths.display(group[0].text[:64])}…")
    half = len(group) // 2
    return _wrap_group(key, bundle_id, group[:half]) + _wrap_group(key, bundle_id, group[half:])


def _keys_plaintext(key: BundleKey, bundle_id: bytes, recipients: Iterable[str]) -> bytes:
    lines = [f"# bundle: {bundle_id.hex()}", *(f"# recipient: {text}" for text in recipients), key.text.decode("ascii")]
    return "".join(f"{line}\n" for line in lines).encode()


def recipient_kinds(body: bytes) -> tuple[str, ...]:
    """The types of the stanzas in a KEYS body, without grease: what anyone can see of the recipients."""
    header = agefile.parse_header(body, max_length=limits.MAX_AGE_HEADER)
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
    headers = [agefile.parse_header(body, max_length=limits.MAX_AGE_HEADER) for body in bodies]
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
        return pyrage.decrypt(body, [identity.handle for identity in identities])
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
    return BundleKey(agetext.decode_identity(keys[0]))
