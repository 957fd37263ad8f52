"""Vectors with faults in the KEYS sections and in age files (section 6)."""

from __future__ import annotations

from collections.abc import Callable

from spec.vectors import age
from spec.vectors.builder import ENTR, IDENTITY, MANI, SEGM, STRANGER, Draft, flip, seeded
from spec.vectors.cases import framing, framings, opened_by_passphrase, vector, vectors

_WRONG_PASSPHRASE = "correct horse battery stable"  # noqa: S105 - published with the vectors


def _identity(d: Draft) -> age.Stanzas:
    return age.x25519(d.random, age.public(IDENTITY))


def _keys(d: Draft, body: bytes) -> None:
    d.sample()
    d.keys = [body]


# --- which keys open it ---------------------------------------------------------------------------------------------


@vector("R-6.12", "NoKeyFits")
def stranger(d: Draft) -> None:
    """The identity isn't one of the recipients'."""
    d.sample()
    d.identity = STRANGER


@vector("R-6.12", "NoKeyFits")
def identity_for_a_passphrase(d: Draft) -> None:
    """An identity, where only a passphrase opens the bundle."""
    _keys(d, d.passphrase_body())


@vector("R-6.12", "NoKeyFits")
def passphrase_for_an_identity(d: Draft) -> None:
    """A passphrase, where only an identity opens the bundle."""
    d.sample()
    opened_by_passphrase(d)


@vector("R-6.12", "WrongPassphrase")
def wrong_passphrase(d: Draft) -> None:
    """Another passphrase."""
    _keys(d, d.passphrase_body())
    d.identity, d.passphrase = None, _WRONG_PASSPHRASE


@vector("R-6.12", "NoKeyFits")
def neither_fits(d: Draft) -> None:
    """Neither the identity nor the passphrase opens it."""
    _keys(d, d.passphrase_body())
    d.passphrase = _WRONG_PASSPHRASE


# --- age headers ----------------------------------------------------------------------------------------------------


def _armored(body: bytes) -> bytes:
    text = age.b64(body) + b"=" * (-len(age.b64(body)) % 4)
    lines = b"".join(text[i : i + 64] + b"\n" for i in range(0, len(text), 64))
    return b"-----BEGIN AGE ENCRYPTED FILE-----\n" + lines + b"-----END AGE ENCRYPTED FILE-----\n"


def _without_stanzas(body: bytes) -> bytes:
    return body[: len(age.MAGIC)] + body[body.index(b"---") :]


def _not_canonical(body: bytes) -> bytes:
    # 43 characters hold 258 bits, two more than the MAC: the last character's lowest two must be zero.
    end = body.index(b"\n", body.index(b"---"))
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet.index(body[end - 1])
    return body[: end - 1] + alphabet[last | 1 : (last | 1) + 1] + body[end:]


_HEADER_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "armor": _armored,
    "version_2": lambda body: body.replace(b"/v1\n", b"/v2\n", 1),
    "crlf": lambda body: body.replace(b"\n", b"\r\n", 3),
    "without_stanzas": _without_stanzas,
    "cut": lambda body: body[: body.index(b"---")],
    "empty": lambda _: b"",
    "padded_base64": lambda body: body.replace(b"\n---", b"=\n---", 1),
    "blank_argument": lambda body: body.replace(b"X25519 ", b"X25519  ", 1),
    "short_mac": lambda body: body.replace(body[body.index(b"---") + 4 :].split(b"\n")[0], b"AAAA", 1),
    "other_line": lambda body: body.replace(b"\n---", b"\nhello\n---", 1),
    "not_canonical_base64": _not_canonical,
    "long_line": lambda body: body.replace(b"\n---", b"\n-> x-grease\n" + b"A" * 68 + b"\n---", 1),
    "nothing_of_age": lambda _: bytes(20_000),
}


@framings("R-6.1", "Malformed", _HEADER_FAULTS)
def header(d: Draft, change: Callable[[bytes], bytes]) -> None:
    """The age header of KEYS isn't one."""
    _keys(d, change(d.keys_body()))


@vectors("R-6.1", _HEADER_FAULTS, "Malformed")
def segment_header(d: Draft, change: Callable[[bytes], bytes]) -> None:
    """The age header of a segment isn't one."""
    d.sample()
    body = age.seal(b"", age.x25519(d.random, age.public(d.secret)), d.random)
    d.change(SEGM, body=change(body))


@vectors("R-6.1", {"nonce": -60, "payload": -1}, "AuthenticationFailed")
def payload_of_keys(d: Draft, position: int) -> None:
    """The payload of KEYS was changed, and hashed again."""
    _keys(d, flip(d.keys_body(), position))


@vector("R-6.1", "AuthenticationFailed")
def added_stanza_of_keys(d: Draft) -> None:
    """Somebody added a stanza to KEYS: the header MAC tells."""
    body = d.keys_body()
    _keys(d, body.replace(b"\n---", b"\n-> x-grease\n\n---", 1))


def _other_mac(body: bytes) -> bytes:
    start = body.index(b"---") + 4
    return body[:start] + age.b64(bytes(32)) + body[start + 43 :]


_PAYLOAD_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "last_bit": lambda body: flip(body, -1),
    "nonce_bit": lambda body: flip(body, body.index(b"\n", body.index(b"---")) + 1),
    "cut_chunk": lambda body: body[:-1],
    "cut_to_header": lambda body: body[: body.index(b"\n", body.index(b"---")) + 1],
    "cut_to_nonce": lambda body: body[: body.index(b"\n", body.index(b"---")) + 17],
    "appended": lambda body: body + b"\0",
    "header_mac": _other_mac,
}


@vectors("R-6.1", _PAYLOAD_FAULTS, "AuthenticationFailed")
def payload(d: Draft, change: Callable[[bytes], bytes]) -> None:
    """A segment was changed by somebody who knows the bundle key, but not how age works."""
    d.sample()
    stanzas = age.x25519(d.random, age.public(d.secret))
    d.change(SEGM, body=change(age.seal(b"plain", stanzas, d.random)))


@vectors(
    "R-6.1",
    {
        "not_last": [(b"x" * 100, False)],
        "last_chunk_missing": [(b"x" * age.CHUNK, False)],
        "empty_last_chunk": [(b"x" * age.CHUNK, False), (b"", True)],
        "short_chunk_inside": [(b"x" * 100, False), (b"y" * 100, True)],
    },
    "AuthenticationFailed",
)
def chunks(d: Draft, split: list[tuple[bytes, bool]]) -> None:
    """The chunks of a payload aren't divided as age divides them."""
    d.sample()
    d.change(SEGM, split=split)


@vectors("R-6.2", {"segm": SEGM, "entr": ENTR, "mani": MANI}, "LimitExceeded")
def long_header(d: Draft, kind: bytes) -> None:
    """An age header of more than 16 KiB."""
    d.sample()
    own = age.x25519(d.random, age.public(d.secret))
    d.change(kind, stanzas=lambda key: own(key) + age.stanza(b"x-grease", b"g" * 3000) * 5)


@framing("R-6.2", "LimitExceeded")
def long_header_of_keys(d: Draft) -> None:
    """An age header of KEYS of more than 16 KiB."""
    own = _identity(d)
    _keys(d, d.keys_body(None, lambda key: own(key) + age.stanza(b"x-grease", b"g" * 3000) * 5))


def _many_stanzas(own: age.Stanzas) -> age.Stanzas:
    return lambda key: own(key) + age.stanza(b"x-grease", b"") * 128


def _long_stanza(own: age.Stanzas) -> age.Stanzas:
    return lambda key: own(key) + age.stanza(b"x-grease", b"g" * 64 * 48)


_LIMITS = {"stanzas": _many_stanzas, "lines": _long_stanza}


@framings("R-6.2", "LimitExceeded", _LIMITS)
def too_many(d: Draft, change: Callable[[age.Stanzas], age.Stanzas]) -> None:
    """One more than there may be in the age header of KEYS."""
    _keys(d, d.keys_body(None, change(_identity(d))))


@vectors("R-6.2", _LIMITS, "LimitExceeded")
def too_many_in_segment(d: Draft, change: Callable[[age.Stanzas], age.Stanzas]) -> None:
    """One more than there may be in the age header of a segment."""
    d.sample()
    d.change(SEGM, stanzas=change(age.x25519(d.random, age.public(d.secret))))


# --- one recipient: the bundle key ----------------------------------------------------------------------------------


@vectors("R-6.3", {"segm": SEGM, "entr": ENTR, "mani": MANI}, "Malformed")
def two_recipients(d: Draft, kind: bytes) -> None:
    """A sealed section has a second X25519 stanza."""
    d.sample()
    d.change(kind, stanzas=age.x25519(d.random, age.public(d.secret), age.public(IDENTITY)))


@vector("R-6.3", "Malformed")
def grease_alone(d: Draft) -> None:
    """A sealed section has no X25519 stanza."""
    d.sample()
    d.change(SEGM, stanzas=lambda _: age.stanza(b"x-grease", b"g"))


@vector("R-6.3", "Malformed")
def other_stanza(d: Draft) -> None:
    """A sealed section has a stanza beside X25519 that isn't grease."""
    d.sample()
    own = age.x25519(d.random, age.public(d.secret))
    d.change(SEGM, stanzas=lambda key: own(key) + age.stanza(b"greasy", b"g"))


@vector("R-6.3", "Malformed")
def passphrase_stanza(d: Draft) -> None:
    """A segment is sealed to a passphrase."""
    d.sample()
    d.change(SEGM, stanzas=age.scrypt(d.random, "x", 1))


@vectors(
    "R-6.3",
    {
        "without_share": (b"X25519", bytes(32)),
        "two_shares": (b"X25519 " + age.b64(bytes(32)) + b" x", bytes(32)),
        "short_share": (b"X25519 " + age.b64(bytes(31)), bytes(32)),
        "short_body": (b"X25519 " + age.b64(b"\x09" + bytes(31)), bytes(31)),
        "low_order": (b"X25519 " + age.b64(bytes(32)), bytes(32)),
        "share_not_canonical": (b"X25519 CQ" + b"A" * 40 + b"B", bytes(32)),
    },
    "Malformed",
)
def stanza_shape(d: Draft, parts: tuple[bytes, bytes]) -> None:
    """An X25519 stanza of another shape than age's."""
    d.sample()
    d.change(SEGM, stanzas=lambda _: age.stanza(*parts))


@vectors("R-6.3", {"segm": SEGM, "entr": ENTR, "mani": MANI}, "AuthenticationFailed")
def another_key(d: Draft, kind: bytes) -> None:
    """A section is sealed to another key than the bundle's, though the frame MAC is right."""
    d.sample()
    d.change(kind, stanzas=age.x25519(d.random, age.public(STRANGER)))


# --- passphrases ----------------------------------------------------------------------------------------------------


@vector("R-6.4", "Malformed")
def passphrase_in_company(d: Draft) -> None:
    """A scrypt stanza beside an X25519 stanza."""
    by_passphrase, by_identity = age.scrypt(d.random, "x", 1), _identity(d)
    _keys(d, d.keys_body(None, lambda key: by_identity(key) + by_passphrase(key)))


@vector("R-6.4", "Malformed")
def two_passphrases(d: Draft) -> None:
    """Two KEYS sections to a passphrase."""
    d.sample()
    d.keys = [d.passphrase_body(), d.passphrase_body()]
    opened_by_passphrase(d)


@vectors("R-6.4", {"21": b"21", "23": b"23", "99": b"99", "three_digits": b"100"}, "LimitExceeded")
def work_factor(d: Draft, factor: bytes) -> None:
    """A work factor above what is read unasked; nothing is derived."""
    salt = age.b64(d.random(16))
    _keys(d, d.keys_body(None, lambda _: age.stanza(b"scrypt " + salt + b" " + factor, bytes(32))))
    opened_by_passphrase(d)


@vectors(
    "R-6.4",
    {
        "leading_zero": (16, b"010", 32),
        "leading_zero_before_limit": (16, b"0100", 32),
        "zero": (16, b"0", 32),
        "signed": (16, b"+9", 32),
        "letters": (16, b"ten", 32),
        "short_salt": (15, b"10", 32),
        "short_body": (16, b"10", 31),
    },
    "Malformed",
)
def scrypt_shape(d: Draft, shape: tuple[int, bytes, int]) -> None:
    """A scrypt stanza of another shape than age's."""
    salt, factor, body = shape
    _keys(d, d.keys_body(None, lambda _: age.stanza(b"scrypt " + age.b64(bytes(salt)) + b" " + factor, bytes(body))))
    opened_by_passphrase(d)


@vector("R-6.4", "Malformed")
def scrypt_salt(d: Draft) -> None:
    """The salt of a scrypt stanza isn't canonical base64: bits that no byte uses are set."""
    salt = b"A" * 21 + b"B"
    _keys(d, d.keys_body(None, lambda _: age.stanza(b"scrypt " + salt + b" 10", bytes(32))))
    opened_by_passphrase(d)


# --- the text -------------------------------------------------------------------------------------------------------


@vectors(
    "R-6.5",
    {
        "another_bundle": lambda d: d.keys_text(bundle_id=seeded("another bundle")(16)),
        "no_bundle": lambda d: d.keys_text().split(b"\n", 1)[1],
        "upper_case_id": lambda d: d.keys_text().replace(
            d.bundle_id.hex().encode(), d.bundle_id.hex().upper().encode()
        ),
        "crlf": lambda d: d.keys_text().replace(b"\n", b"\r\n"),
    },
    "AuthenticationFailed",
)
def bundle_line(d: Draft, text: Callable[[Draft], bytes]) -> None:
    """The KEYS text doesn't name this bundle."""
    _keys(d, d.keys_body(text(d)))


@vectors(
    "R-6.5",
    {
        "no_key": lambda d: d.keys_text(key="# none"),
        "two_keys": lambda d: d.keys_text(key=age.identity(d.secret) + "\n" + age.identity(STRANGER)),
        "lower_case_key": lambda d: d.keys_text(key=age.identity(d.secret).lower()),
        "bad_checksum": lambda d: d.keys_text(key=age.identity(d.secret)[:-1] + "B"),
        "plugin": lambda d: d.keys_text(key="AGE-PLUGIN-YUBIKEY-1QQQQQQ"),
        "indented_key": lambda d: d.keys_text(key=" " + age.identity(d.secret)),
        "not_utf8": lambda d: d.keys_text() + b"# \xff\n",
    },
    "Malformed",
)
def key_line(d: Draft, text: Callable[[Draft], bytes]) -> None:
    """The KEYS text isn't UTF-8 with exactly one canonical key."""
    _keys(d, d.keys_body(text(d)))


@vector("R-6.8", "LimitExceeded")
def long_text(d: Draft) -> None:
    """A KEYS text of more than 48 KiB."""
    text = d.keys_text()
    _keys(d, d.keys_body(text + b"#" * (48 * 1024 + 1 - len(text))))


@framing("R-6.1", "Malformed")
def second_section(d: Draft) -> None:
    """The first KEYS section opens, but the second isn't an age file: all headers are read first."""
    d.sample()
    d.keys = [d.keys_body(), b"age-encryption.org/v2\n"]
