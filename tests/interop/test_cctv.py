"""The whole CCTV testkit of age: our age code ends each vector as it says, and nothing else opens by mistake.

The testkit is C2SP's, from the npm package ``cctv-age``: one scenario a vector, its header tells how it must end. Needs
npm once; the package is then kept in the cache. Nothing is ever released of a payload that isn't whole, so what a
vector says of the part before the fault has nothing to be compared with.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import tarfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from ocbundle import agefile, agetext, keyholders, limits, sealing
from ocbundle.errors import AuthenticationFailed, BundleError, LimitExceeded, Malformed, WrongPassphrase

pytestmark = pytest.mark.ci

VERSION: Final = "0.2.0"
SHA512: Final = "1fiGAaWr+snqgu8+uCC7qPeApAuueOESET2npKe0FVLY+Huf+Kkia89Rybx/uoGNCml31SgAjiQIeFOY4K3New=="
VECTOR: Final = re.compile(r'^// \.\./testdata/(\w+)\nvar \w+ = __toBinary\("([^"]+)"\);$', re.MULTILINE)

COUNTS: Final = {
    ("X25519", "success"): 14,
    ("X25519", "no match"): 3,
    ("X25519", "HMAC failure"): 1,
    ("X25519", "header failure"): 31,
    ("X25519", "payload failure"): 18,
    ("passphrase", "success"): 1,
    ("passphrase", "no match"): 4,
    ("passphrase", "header failure"): 20,
    ("armor", "success"): 7,
    ("armor", "no match"): 1,
    ("armor", "header failure"): 2,
    ("armor", "payload failure"): 1,
    ("armor", "armor failure"): 22,
    ("hybrid", "success"): 4,
    ("hybrid", "no match"): 5,
    ("hybrid", "header failure"): 9,
}
"""Every vector there is, by what it is about and how it says that it ends."""

OTHERWISE: Final = {
    # To the testkit the nonce is the header's end; to our specification it is the payload's beginning.
    "stream_no_nonce": "payload failure",
    "stream_short_nonce": "payload failure",
    # There it is armor around an empty file.
    "armor_empty": "armor failure",
}
"""What ends in another error than the testkit says, and in which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One file of the testkit."""

    name: str
    fields: dict[str, list[str]]
    file: bytes

    @property
    def expected(self) -> str:
        (expected,) = self.fields["expect"]
        return expected

    @property
    def subject(self) -> str:
        if "armored" in self.fields:
            return "armor"
        if "passphrase" in self.fields:
            return "passphrase"
        return "hybrid" if self.is_hybrid else "X25519"

    @property
    def is_hybrid(self) -> bool:
        return any(text.startswith("AGE-SECRET-KEY-PQ-") for text in self.fields.get("identity", ()))

    @property
    def secrets(self) -> list[bytes]:
        texts = self.fields.get("identity", ())
        return [agetext.decode_identity(text) for text in texts if not text.startswith("AGE-SECRET-KEY-PQ-")]


def fetch() -> Path:
    """The package, as the registry gives it; only ever the one whose digest stands above."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "ocbundle-ci"
    package = cache / f"cctv-age-{VERSION}.tgz"
    if not package.exists():
        cache.mkdir(parents=True, exist_ok=True)
        pack = ("npm", "pack", "--silent", f"cctv-age@{VERSION}", "--pack-destination", cache)
        subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
    assert hashlib.sha512(package.read_bytes()).digest() == base64.b64decode(SHA512)
    return package


def parse(name: str, data: bytes) -> Vector:
    text, _, file = data.partition(b"\n\n")
    fields: dict[str, list[str]] = {}
    for line in text.decode().splitlines():
        key, value = line.split(": ", 1)
        fields.setdefault(key, []).append(value)
    compressed = fields.get("compressed")
    assert compressed in (None, ["zlib"])
    return Vector(name=name, fields=fields, file=zlib.decompress(file) if compressed else file)


@pytest.fixture(scope="module")
def vectors() -> list[Vector]:
    with tarfile.open(fetch()) as package:
        module = package.extractfile("package/index.js")
        assert module
        script = module.read().decode()
    found = [parse(match[1], base64.b64decode(match[2])) for match in VECTOR.finditer(script)]
    assert Counter((vector.subject, vector.expected) for vector in found) == COUNTS
    return found


def about(vectors: list[Vector], *subjects: str) -> list[Vector]:
    return [vector for vector in vectors if vector.subject in subjects]


def ending(vector: Vector) -> str:
    """How *vector* ends in our hands, in the testkit's words; a payload that was given out by its digest."""
    file = vector.file
    if vector.subject == "armor":
        try:
            file = agetext.dearmor(file)
        except Malformed:
            file = vector.file
        if file is vector.file:
            return "armor failure"
    try:
        header = agefile.parse_header(file, max_length=limits.MAX_AGE_HEADER)
        if agefile.is_passphrase(header):
            return by_passphrase(vector, file, header)
        file_key = by_secret(vector, header)
    except (Malformed, LimitExceeded):
        return "header failure"
    return "no match" if file_key is None else by_file_key(file, header, file_key)


def by_passphrase(vector: Vector, file: bytes, header: agefile.Header) -> str:
    # Whoever was given a passphrase only still looks at the stanza first, so one that isn't told is any other.
    (passphrase,) = vector.fields.get("passphrase", ["any other"])
    try:
        return success(agefile.open_passphrase(file, header, passphrase, max_work_factor=limits.SCRYPT_MAX_WORK_FACTOR))
    except WrongPassphrase:
        return "no match"


def by_secret(vector: Vector, header: agefile.Header) -> bytes | None:
    for secret in vector.secrets:
        identity = agefile.X25519Identity(secret)
        for stanza in header.stanzas:
            if stanza.type == "X25519" and (file_key := identity.unwrap(stanza)) is not None:
                return file_key
    return None


def by_file_key(file: bytes, header: agefile.Header, file_key: bytes) -> str:
    try:
        header.authenticate(file_key)
    except AuthenticationFailed:
        return "HMAC failure"
    try:
        return success(bytes(agefile.open_payload(file, header, file_key)))
    except AuthenticationFailed:
        return "payload failure"


def success(payload: bytes) -> str:
    return f"success {hashlib.sha256(payload).hexdigest()}"


def wanted(vector: Vector) -> str:
    if vector.expected == "success":
        return f"success {vector.fields['payload'][0]}"
    return OTHERWISE.get(vector.name, vector.expected)


def test_every_vector_to_an_x25519_key_or_a_passphrase_ends_as_it_says(vectors: list[Vector]) -> None:
    ours = about(vectors, "X25519", "passphrase")
    assert {vector.name: ending(vector) for vector in ours} == {vector.name: wanted(vector) for vector in ours}


def test_every_armored_vector_ends_as_it_says_once_its_armor_is_off(vectors: list[Vector]) -> None:
    ours = [vector for vector in about(vectors, "armor") if not vector.is_hybrid]
    assert len(ours) == 32
    assert {vector.name: ending(vector) for vector in ours} == {vector.name: wanted(vector) for vector in ours}


@pytest.mark.rule("R-6.1")
def test_no_armored_vector_is_taken_for_a_binary_file(vectors: list[Vector]) -> None:
    for vector in about(vectors, "armor"):
        with pytest.raises(Malformed) as caught:
            agefile.parse_header(vector.file, max_length=limits.MAX_AGE_HEADER)
        assert caught.value.rule == "R-6.1", vector.name


def test_no_hybrid_vector_opens(vectors: list[Vector]) -> None:
    endings = Counter(ending(vector) for vector in vectors if vector.is_hybrid)
    assert endings == {"no match": 17, "header failure": 2}


@pytest.mark.rule("R-6.1", "R-6.3")
def test_a_bundle_key_opens_what_succeeds_with_one_stanza_for_it_and_nothing_else(vectors: list[Vector]) -> None:
    opened = set()
    for vector in vectors:
        for secret in vector.secrets:
            try:
                payload = bytes(sealing.BundleKey(secret).open(vector.file))
            except BundleError:
                continue
            assert success(payload) == wanted(vector), vector.name
            opened.add(vector.name)
    assert len(opened) == 9
    unopened = {vector.name for vector in about(vectors, "X25519") if vector.expected == "success"} - opened
    beside_others = {"x25519_multiple_recipients", "x25519_grease", "stanza_valid_characters"}
    assert unopened == beside_others | {"stanza_empty_body", "stanza_empty_last_line"}


@pytest.mark.rule("R-6.1")
def test_a_keys_section_opens_where_its_vector_succeeds_and_nowhere_else(vectors: list[Vector]) -> None:
    endings: Counter[str] = Counter()
    for vector in about(vectors, "X25519"):
        text = b"".join(agetext.encode_identity(secret).encode() + b"\n" for secret in vector.secrets)
        identities = keyholders.parse_identities(text, "key.txt") if text else ()
        try:
            agefile.parse_header(vector.file, max_length=limits.MAX_AGE_HEADER)
            payload = sealing._decrypt(vector.file, identities)
        except BundleError as error:
            endings[type(error).__name__] += 1
        else:
            endings["nothing" if payload is None else "opened"] += 1
            assert ("no match" if payload is None else success(payload)) == wanted(vector), vector.name
    assert endings == {"opened": 14, "nothing": 3, "Malformed": 22, "AuthenticationFailed": 28}
