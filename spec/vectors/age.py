"""A second age v1 implementation, of the writing half only, for the vectors (section 6 of the specification).

It shares no code with the library, so that a mistake there can't hide in the vectors. It takes its randomness from its
caller, so that the same bytes come out each time. It never reads an age file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

Random = Callable[[int], bytes]
Stanzas = Callable[[bytes], bytes]
"""The lines of a header's stanzas, made from the file key that they wrap."""

MAGIC = b"age-encryption.org/v1\n"
CHUNK = 65536
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def b64(data: bytes) -> bytes:
    """Base64 without padding."""
    return base64.b64encode(data).rstrip(b"=")


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return hmac.digest(hmac.digest(salt or bytes(32), secret, "sha256"), info + b"\x01", "sha256")


def _aead(key: bytes, nonce: bytes, data: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce, data, None)


def stanza(words: bytes, body: bytes) -> bytes:
    """One stanza: the line of its *words*, and its *body* in lines of 64 characters, the last one shorter."""
    text = b64(body)
    lines = [text[i : i + 64] for i in range(0, len(text) + 1, 64)]
    return b"-> " + words + b"\n" + b"".join(line + b"\n" for line in lines)


def public(secret: bytes) -> bytes:
    """The public key of an X25519 secret."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def x25519(random: Random, *publics: bytes) -> Stanzas:
    """X25519 stanzas, one for each public key."""

    def wrap(file_key: bytes, recipient: bytes) -> bytes:
        ephemeral = X25519PrivateKey.from_private_bytes(random(32))
        share = ephemeral.public_key().public_bytes_raw()
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
        key = _hkdf(shared, share + recipient, b"age-encryption.org/v1/X25519")
        return stanza(b"X25519 " + b64(share), _aead(key, bytes(12), file_key))

    return lambda file_key: b"".join(wrap(file_key, recipient) for recipient in publics)


def scrypt(random: Random, passphrase: str, factor: int) -> Stanzas:
    """A scrypt stanza of the given work *factor*."""
    salt = random(16)
    label = b"age-encryption.org/v1/scrypt"
    key = hashlib.scrypt(passphrase.encode(), salt=label + salt, n=1 << factor, r=8, p=1, dklen=32)
    return lambda file_key: stanza(b"scrypt " + b64(salt) + b" %d" % factor, _aead(key, bytes(12), file_key))


def payload(key: bytes, plaintext: bytes) -> list[bytes]:
    """The encrypted chunks of *plaintext*."""
    pieces = [plaintext[i : i + CHUNK] for i in range(0, len(plaintext), CHUNK)] or [b""]
    return chunks(key, [(piece, number == len(pieces) - 1) for number, piece in enumerate(pieces)])


def chunks(key: bytes, pieces: list[tuple[bytes, bool]]) -> list[bytes]:
    """Encrypted chunks; of each piece it is told whether its nonce says that it is the last."""
    return [
        _aead(key, number.to_bytes(11, "big") + bytes([last]), piece) for number, (piece, last) in enumerate(pieces)
    ]


def seal(plaintext: bytes, stanzas: Stanzas, random: Random, *, split: list[tuple[bytes, bool]] | None = None) -> bytes:
    """An age file. With *split*, these chunks and not those that *plaintext* should have."""
    file_key = random(16)
    signed = MAGIC + stanzas(file_key) + b"---"
    mac = hmac.digest(_hkdf(file_key, b"", b"header"), signed, "sha256")
    nonce = random(16)
    key = _hkdf(file_key, nonce, b"payload")
    body = payload(key, plaintext) if split is None else chunks(key, split)
    return signed + b" " + b64(mac) + b"\n" + nonce + b"".join(body)


def identity(secret: bytes) -> str:
    """The text of an X25519 identity."""
    return _bech32("age-secret-key-", secret).upper()


def recipient(secret: bytes) -> str:
    """The text of the recipient that an X25519 secret opens."""
    return _bech32("age", public(secret))


def _bech32(prefix: str, data: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    words = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    state = 1
    for value in [*expanded, *words, 0, 0, 0, 0, 0, 0]:
        top, state = state >> 25, (state & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> i & 1 else 0
    state ^= 1
    words += [state >> 5 * i & 31 for i in reversed(range(6))]
    return prefix + "1" + "".join(_BECH32[word] for word in words)
