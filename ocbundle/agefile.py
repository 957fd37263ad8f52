"""age v1 files, as the format uses them: header grammar with bounds, X25519 and scrypt stanzas, the STREAM payload.

Implements section 6 of the specification after C2SP ``age.md``. It knows nothing of bundles, recipients' names or files
on disk. Randomness is handed in, so that the specification's vectors can be made again byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ocbundle import limits
from ocbundle.errors import AuthenticationFailed, InvalidRequest, LimitExceeded, Malformed, WrongPassphrase
from ocbundle.memory import Take

Random = Callable[[int], bytes]
"""``random(n)`` gives *n* bytes fit for keys: ``os.urandom``, but in tests."""

MAGIC: Final = b"age-encryption.org/v1\n"
CHUNK: Final = 64 * limits.KIB
"""Plaintext bytes of a STREAM chunk; each carries a tag of 16 more."""

_TAG: Final = 16
_KEY: Final = 16
_ZERO_NONCE: Final = bytes(12)
_X25519_INFO: Final = b"age-encryption.org/v1/X25519"
_SCRYPT_LABEL: Final = b"age-encryption.org/v1/scrypt"


@dataclass(frozen=True, slots=True)
class Stanza:
    """One recipient's stanza: its arguments, the first of which is the type, and its decoded body."""

    args: tuple[str, ...]
    body: bytes

    @property
    def type(self) -> str:
        """The stanza's type, such as ``X25519``."""
        return self.args[0]

    def encode(self) -> bytes:
        """The stanza's lines."""
        text = _b64encode(self.body)
        lines = [text[i : i + 64] for i in range(0, len(text), 64)]
        if len(text) % 64 == 0:
            lines.append("")
        return f"-> {' '.join(self.args)}\n{''.join(line + chr(10) for line in lines)}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header. *signed* is what its MAC covers; *length* is where the payload begins."""

    stanzas: tuple[Stanza, ...]
    mac: bytes
    signed: bytes
    length: int

    def authenticate(self, file_key: bytes) -> None:
        """Demand the header MAC.

        Raises:
            AuthenticationFailed: the header was changed.
        """
        if not hmac.compare_digest(_header_mac(file_key, self.signed), self.mac):
            raise AuthenticationFailed("an age header was changed", rule="R-6.1")


def parse_header(data: bytes | memoryview, *, max_length: int) -> Header:
    """Read the header at the start of *data*, before any key is used on it.

    The bounds come first, line by line, since parsers that lack them take seconds for 64 KB of tiny stanzas.

    Raises:
        Malformed: it isn't a binary age v1 header, canonical to the byte (R-6.1).
        LimitExceeded: longer than *max_length*, or more stanzas or lines than the format allows (R-6.2).
    """
    data = bytes(data[: max_length + 1])
    if not data.startswith(MAGIC):
        raise Malformed("not a binary age v1 file", rule="R-6.1")
    stanzas: list[Stanza] = []
    position = len(MAGIC)
    while True:
        line, following = _line(data, position, max_length)
        if line.startswith(b"-> "):
            if len(stanzas) == limits.MAX_STANZAS:
                raise LimitExceeded("an age header has too many stanzas", rule="R-6.2")
            args = _stanza_args(line[3:])
            body, following = _stanza_body(data, following, max_length)
            stanzas.append(Stanza(args, body))
        elif line.startswith(b"--- ") and stanzas:
            mac = _b64decode(line[4:])
            if len(mac) != 32:
                raise Malformed("an age header's MAC isn't 32 bytes", rule="R-6.1")
            return Header(tuple(stanzas), mac, data[: position + 3], following)
        else:
            raise Malformed("an age header has a line that is none of its own", rule="R-6.1")
        position = following


def _line(data: bytes, position: int, max_length: int) -> tuple[bytes, int]:
    end = data.find(b"\n", position, max_length)
    if end < 0 and len(data) > max_length:
        raise LimitExceeded(f"an age header longer than {max_length} bytes", rule="R-6.2")
    if end < 0:
        raise Malformed("an age header doesn't end", rule="R-6.1")
    return data[position:end], end + 1


def _stanza_body(data: bytes, position: int, max_length: int) -> tuple[bytes, int]:
    lines: list[bytes] = []
    while True:
        if len(lines) == limits.MAX_STANZA_LINES:
            raise LimitExceeded("an age stanza has too many lines", rule="R-6.2")
        line, position = _line(data, position, max_length)
        if len(line) > 64:
            raise Malformed("a line of an age stanza is too long", rule="R-6.1")
        lines.append(line)
        if len(line) < 64:  # the last line of a body is short, even if it must be empty for that
            return _b64decode(b"".join(lines)), position


def _stanza_args(text: bytes) -> tuple[str, ...]:
    args = text.split(b" ")
    if any(not arg or not all(0x21 <= byte <= 0x7E for byte in arg) for arg in args):
        raise Malformed("an age stanza's arguments aren't printable words", rule="R-6.1")
    return tuple(arg.decode("ascii") for arg in args)


def seal(plaintext: bytes, stanza: Callable[[bytes], Stanza], random: Random) -> bytes:
    """An age file with one stanza; *stanza* wraps the file key that it is given."""
    return bytes(seal_into(bytearray, plaintext, stanza, random))


def seal_into(take: Take, plaintext: bytes, stanza: Callable[[bytes], Stanza], random: Random) -> memoryview:
    """:func:`seal`, in memory of which *take* gives as much as it is asked for, or more."""
    file_key = random(_KEY)
    signed = MAGIC + stanza(file_key).encode() + b"---"
    mac = _b64encode(_header_mac(file_key, signed)).encode("ascii")
    nonce = random(16)
    head = b"".join((signed, b" ", mac, b"\n", nonce))
    cipher = ChaCha20Poly1305(_hkdf(file_key, nonce, b"payload"))
    view = memoryview(plaintext)
    count = max(1, -(-len(view) // CHUNK))
    length = len(head) + len(view) + count * _TAG
    sealed = memoryview(take(length))[:length]
    end = len(head)
    sealed[:end] = head
    for number in range(count):
        nonce = _chunk_nonce(number, last=number == count - 1)
        chunk = cipher.encrypt(nonce, view[number * CHUNK : (number + 1) * CHUNK], None)
        sealed[end : end + len(chunk)] = chunk
        end += len(chunk)
    return sealed


def open_payload(data: bytes | memoryview, header: Header, file_key: bytes, take: Take = bytearray) -> memoryview:
    """The plaintext behind *header* in *data*, whole and authenticated, or nothing.

    It is put where *take* gives as much memory as it is asked for, or more.

    Raises:
        AuthenticationFailed: header or payload were changed, cut or extended.
    """
    header.authenticate(file_key)
    nonce = bytes(data[header.length : header.length + 16])
    payload = memoryview(data)[header.length + 16 :]
    if len(nonce) < 16 or len(payload) < _TAG:
        raise AuthenticationFailed("an age payload is cut off", rule="R-6.1")
    cipher = ChaCha20Poly1305(_hkdf(file_key, nonce, b"payload"))
    count = -(-len(payload) // (CHUNK + _TAG))
    length = len(payload) - count * _TAG
    plaintext = memoryview(take(length))[:length]
    for number in range(count):
        chunk = payload[number * (CHUNK + _TAG) : (number + 1) * (CHUNK + _TAG)]
        last = number == count - 1
        if len(chunk) == _TAG and number:
            raise AuthenticationFailed("an age payload ends in an empty chunk", rule="R-6.1")
        try:
            cipher.decrypt_into(
                _chunk_nonce(number, last=last), chunk, None, plaintext[number * CHUNK : (number + 1) * CHUNK]
            )
        except (InvalidTag, ValueError) as error:
            raise AuthenticationFailed("an encrypted payload was changed", rule="R-6.1") from error
    return plaintext


def _chunk_nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


# --- X25519 ---------------------------------------------------------------------------------------------------------


def x25519_public(secret: bytes) -> bytes:
    """The 32-byte public key of a 32-byte X25519 secret."""
    return X25519Identity(secret).public


def wrap_x25519(file_key: bytes, public: bytes, random: Random) -> Stanza:
    """The stanza that gives *file_key* to the holder of *public*'s secret."""
    ephemeral = X25519PrivateKey.from_private_bytes(random(32))
    share = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    key = _hkdf(shared, share + public, _X25519_INFO)
    return Stanza(("X25519", _b64encode(share)), ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None))


class X25519Identity:
    """An X25519 secret, and its public key, which takes as long to derive as a stanza to unwrap."""

    __slots__ = ("_private", "public")

    def __init__(self, secret: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._private.public_key().public_bytes_raw()
        """32 bytes."""

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key in *stanza*, or ``None`` if it was wrapped to somebody else.

        Raises:
            Malformed: the stanza isn't of the X25519 form.
        """
        if len(stanza.args) != 2 or len(stanza.body) != _KEY + _TAG:
            raise Malformed("an X25519 stanza of another shape", rule="R-6.3")
        share = _b64decode(stanza.args[1].encode("ascii"), rule="R-6.3")
        if len(share) != 32:
            raise Malformed("an X25519 share isn't 32 bytes", rule="R-6.3")
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(share))
        except ValueError as error:  # an all-zero shared secret: a share of low order
            raise Malformed("an X25519 share of low order", rule="R-6.3") from error
        return _unwrap(_hkdf(shared, share + self.public, _X25519_INFO), stanza.body)


# --- scrypt ---------------------------------------------------------------------------------------------------------


def seal_passphrase(plaintext: bytes, passphrase: str, random: Random, *, work_factor: int) -> bytes:
    """An age file to *passphrase*; scrypt takes ``2 ** (work_factor + 10)`` bytes of memory."""
    salt = random(16)
    key = _scrypt(passphrase, salt, work_factor)

    def wrap(file_key: bytes) -> Stanza:
        body = ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None)
        return Stanza(("scrypt", _b64encode(salt), str(work_factor)), body)

    return seal(plaintext, wrap, random)


def is_passphrase(header: Header) -> bool:
    """Whether the file is sealed to a passphrase.

    Raises:
        Malformed: a scrypt stanza has company (R-6.4): whoever adds a stanza would learn what the passphrase protects.
    """
    types = [stanza.type for stanza in header.stanzas]
    if "scrypt" not in types:
        return False
    if len(types) > 1:
        raise Malformed("a passphrase stanza stands beside others", rule="R-6.4")
    return True


def open_passphrase(data: bytes, header: Header, passphrase: str, *, max_work_factor: int) -> bytes:
    """The plaintext of a file sealed to a passphrase.

    Raises:
        LimitExceeded: the work factor is above *max_work_factor*; nothing was derived.
        WrongPassphrase: it is another passphrase.
        AuthenticationFailed: the file was changed.
    """
    args, body = header.stanzas[0].args, header.stanzas[0].body
    salt = _b64decode(args[1].encode("ascii"), rule="R-6.4") if len(args) == 3 else b""
    if len(salt) != 16 or len(body) != _KEY + _TAG or not args[2].isdigit() or args[2].startswith("0"):
        raise Malformed("a passphrase stanza of another shape", rule="R-6.4")
    if len(args[2]) > 2 or int(args[2]) > min(max_work_factor, limits.SCRYPT_MAX_WORK_FACTOR):
        raise LimitExceeded(
            f"the passphrase's work factor is {args[2][:4]}, more than the {max_work_factor} that is allowed",
            rule="R-6.4",
            hint=f"allow more with --max-work-factor, up to {limits.SCRYPT_MAX_WORK_FACTOR}, if it is your own bundle",
        )
    file_key = _unwrap(_scrypt(passphrase, salt, int(args[2])), body)
    if file_key is None:
        raise WrongPassphrase("the passphrase is wrong")
    return bytes(open_payload(data, header, file_key))


def _scrypt(passphrase: str, salt: bytes, work_factor: int) -> bytes:
    secret = encode_passphrase(passphrase)
    return Scrypt(salt=_SCRYPT_LABEL + salt, length=32, n=1 << work_factor, r=8, p=1).derive(secret)


def encode_passphrase(passphrase: str) -> bytes:
    """The bytes of *passphrase*.

    Raises:
        InvalidRequest: it isn't Unicode text. Python's own error would repeat the passphrase.
    """
    try:
        return passphrase.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("the passphrase isn't valid UTF-8") from None


# --- primitives -----------------------------------------------------------------------------------------------------


def _unwrap(key: bytes, body: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, body, None)
    except InvalidTag:
        return None


def _header_mac(file_key: bytes, signed: bytes) -> bytes:
    return hmac.digest(_hkdf(file_key, b"", b"header"), signed, "sha256")


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    # RFC 5869 with SHA-256; 32 bytes are one block of its expansion.
    return hmac.digest(hmac.digest(salt or bytes(32), secret, "sha256"), info + b"\x01", "sha256")


def _b64encode(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode("ascii")


def _b64decode(text: bytes, *, rule: str = "R-6.1") -> bytes:
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise Malformed("broken base64 in an age header", rule=rule) from error
    if _b64encode(data).encode("ascii") != text:  # one encoding for each value (RFC 4648, section 3.5)
        raise Malformed("base64 in an age header isn't canonical", rule=rule)
    return data
