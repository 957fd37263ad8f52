"""The text forms of age: ASCII armor around a file, and keys in Bech32 (BIP 173).

Implements what section 6 of the specification takes from C2SP ``age.md``. One value has one text, and every other is
refused. It knows nothing of what a key opens.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from ocbundle.errors import Malformed

_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_IDENTITY_PREFIX: Final = "age-secret-key-"
_ARMOR_BEGIN: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
_ARMOR_END: Final = b"-----END AGE ENCRYPTED FILE-----"


def dearmor(data: bytes) -> bytes:
    """The binary file inside ASCII armor; *data* itself if it has none.

    Raises:
        Malformed: the armor is broken.
    """
    text = data.strip().replace(b"\r\n", b"\n")
    if not text.startswith(_ARMOR_BEGIN):
        return data
    if not text.startswith(_ARMOR_BEGIN + b"\n") or not text.endswith(b"\n" + _ARMOR_END):
        raise Malformed("the ASCII armor of an age file doesn't begin or end as it must")
    lines = text[len(_ARMOR_BEGIN) + 1 : -len(_ARMOR_END) - 1].split(b"\n")
    body = b"".join(lines)
    try:
        binary = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise Malformed("the ASCII armor of an age file is broken") from error
    # As strict as age: one encoding for each value, in lines that are full but for the last.
    if lines != [body[i : i + 64] for i in range(0, len(body), 64)] or base64.b64encode(binary) != body:
        raise Malformed("the ASCII armor of an age file is broken")
    return binary


def encode_identity(secret: bytes) -> str:
    """The canonical text of an X25519 identity, ``AGE-SECRET-KEY-1…`` (BIP 173)."""
    return _bech32_encode(_IDENTITY_PREFIX, secret).upper()


def decode_identity(text: str) -> bytes:
    """The 32-byte secret of an X25519 identity.

    Raises:
        Malformed: it isn't the canonical text of one. The text is not in the message.
    """
    secret = _bech32_decode(_IDENTITY_PREFIX, text.lower())
    if secret is None or len(secret) != 32 or encode_identity(secret) != text:
        raise Malformed("not an age X25519 identity", rule="R-6.5")
    return secret


def encode_recipient(public: bytes) -> str:
    """The text of an X25519 recipient, ``age1…``."""
    return _bech32_encode("age", public)


def _bech32_encode(prefix: str, data: bytes) -> str:
    bits = int.from_bytes(data, "big") << (-len(data) * 8 % 5)
    count = -(-len(data) * 8 // 5)
    words = [bits >> 5 * i & 31 for i in reversed(range(count))]
    checksum = _bech32_polymod([*_bech32_expand(prefix), *words, 0, 0, 0, 0, 0, 0]) ^ 1
    words += [checksum >> 5 * i & 31 for i in reversed(range(6))]
    return prefix + "1" + "".join(_BECH32[word] for word in words)


def _bech32_decode(prefix: str, text: str) -> bytes | None:
    if not text.startswith(prefix + "1"):
        return None
    words = [_BECH32.find(c) for c in text[len(prefix) + 1 :]]
    if len(words) < 6 or -1 in words or _bech32_polymod([*_bech32_expand(prefix), *words]) != 1:
        return None
    bits = 0
    for word in words[:-6]:
        bits = bits << 5 | word
    count = (len(words) - 6) * 5
    return (bits >> count % 8).to_bytes(count // 8, "big")


def _bech32_expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _bech32_polymod(values: list[int]) -> int:
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> i & 1 else 0
    return state
