"""age v1 files: the same as pyrage and the age program make and open, and bounded where they aren't."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import SECRET, armor, recipient, seeded

from ocbundle import agefile, agetext, limits
from ocbundle.errors import AuthenticationFailed, InvalidRequest, LimitExceeded, Malformed, WrongPassphrase

PUBLIC = agefile.x25519_public(SECRET)
CHUNK = agefile.CHUNK
LENGTHS = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK]) | (
    st.integers(0, 2 * CHUNK)
)
MAX = limits.MAX_AGE_HEADER


def seal(plaintext: bytes, seed: int = 0) -> bytes:
    rng = seeded(seed)
    return agefile.seal(plaintext, lambda file_key: agefile.wrap_x25519(file_key, PUBLIC, rng), rng)


def parse(data: bytes) -> agefile.Header:
    return agefile.parse_header(data, max_length=MAX)


def open_file(data: bytes, secret: bytes = SECRET) -> bytes:
    header = parse(data)
    stanza = next(stanza for stanza in header.stanzas if stanza.type == "X25519")
    file_key = agefile.X25519Identity(secret).unwrap(stanza)
    assert file_key is not None
    return bytes(agefile.open_payload(data, header, file_key))


def content(length: int) -> bytes:
    return seeded(length)(length)


def with_header(*lines: bytes, mac: bytes = b"A" * 43) -> bytes:
    return agefile.MAGIC + b"".join(line + b"\n" for line in lines) + b"--- " + mac + b"\n" + bytes(32)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.txt"
    path.write_text(agetext.encode_identity(SECRET) + "\n")
    return path


def on_a_terminal(*command: str | Path, answers: list[str]) -> None:
    """Run *command* with a terminal of its own, where each of its questions gets an answer."""
    terminal, inner = pty.openpty()
    with subprocess.Popen(["setsid", "--ctty", *command], stdin=inner, stdout=inner, stderr=inner) as process:
        os.close(inner)
        for answer in answers:
            shown = b""
            while b": " not in shown:
                shown += os.read(terminal, 1000)
            os.write(terminal, answer.encode() + b"\n")
        assert process.wait() == 0
    os.close(terminal)


def age(*arguments: str | Path, data: bytes) -> bytes:
    return subprocess.run(["age", *arguments], input=data, capture_output=True, check=True).stdout


# --- with other implementations -------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(LENGTHS)
def test_what_is_sealed_opens_again(length: int) -> None:
    assert open_file(seal(content(length))) == content(length)


@settings(max_examples=30)
@given(LENGTHS)
@example(0)
def test_pyrage_opens_what_is_sealed(length: int) -> None:
    identity = pyrage.x25519.Identity.from_str(agetext.encode_identity(SECRET))
    assert pyrage.decrypt(seal(content(length)), [identity]) == content(length)


@settings(max_examples=30)
@given(LENGTHS)
def test_what_pyrage_seals_is_opened(length: int) -> None:
    sealed = pyrage.encrypt(content(length), [pyrage.x25519.Recipient.from_str(recipient())])
    assert open_file(sealed) == content(length)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(LENGTHS)
def test_the_age_program_opens_what_is_sealed(key_file: Path, length: int) -> None:
    assert age("-d", "-i", key_file, data=seal(content(length))) == content(length)


@settings(max_examples=12, deadline=None)
@given(LENGTHS)
def test_what_the_age_program_seals_is_opened(length: int) -> None:
    assert open_file(age("-r", recipient(), data=content(length))) == content(length)


def test_the_texts_of_keys_are_those_of_age_keygen() -> None:
    written = subprocess.run(["age-keygen"], capture_output=True, check=True, text=True).stdout.splitlines()
    secret = agetext.decode_identity(written[2])
    assert agetext.encode_identity(secret) == written[2]
    assert f"# public key: {agetext.encode_recipient(agefile.x25519_public(secret))}" == written[1]


def test_the_same_randomness_gives_the_same_file() -> None:
    assert seal(b"x") == seal(b"x")


# --- headers --------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1), min_size=1), st.data())
def test_a_stanza_is_parsed_to_what_was_encoded(args: list[str], data: st.DataObject) -> None:
    stanza = agefile.Stanza(tuple(args), data.draw(st.binary(max_size=200)))
    header = parse(with_header(stanza.encode().rstrip(b"\n"), *([b""] if stanza.encode().endswith(b"\n\n") else [])))
    assert header.stanzas == (stanza,)


@pytest.mark.rule("R-6.1")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"age-encryption.org/v2\n", id="another version"),
        pytest.param(b"age-encryption.org/v1\r\n-> X a\r\n\r\n", id="CRLF"),
        pytest.param(agefile.MAGIC, id="the first line alone"),
        pytest.param(agefile.MAGIC + b"-> X a", id="a stanza cut off"),
        pytest.param(agefile.MAGIC + b"-> X a\nAAAA", id="a body cut off"),
        pytest.param(with_header(), id="no stanza"),
        pytest.param(with_header(b"-> X", b"", mac=b"A" * 42), id="a MAC of 31 bytes"),
        pytest.param(with_header(b"-> X", b"", mac=b"A" * 43 + b"="), id="a padded MAC"),
        pytest.param(with_header(b"-> X", b"", mac=b"A" * 42 + b"B"), id="a MAC with bits left over"),
        pytest.param(with_header(b"-> ", b""), id="no type"),
        pytest.param(with_header(b"-> X  a", b""), id="two spaces"),
        pytest.param(with_header(b"-> X ", b""), id="a trailing space"),
        pytest.param(with_header(b"-> X\ta", b""), id="a tab"),
        pytest.param(with_header(b"-> X \xc3\xa9", b""), id="an argument that isn't ASCII"),
        pytest.param(with_header(b"->X", b""), id="no space behind the arrow"),
        pytest.param(with_header(b"-> X", b"A" * 65), id="a long line"),
        pytest.param(with_header(b"-> X", b"A" * 64), id="no short line at the end"),
        pytest.param(with_header(b"-> X", b"AA=="), id="padding"),
        pytest.param(with_header(b"-> X", b"AB"), id="bits left over"),
        pytest.param(with_header(b"-> X", b"AAAAA"), id="an impossible length"),
        pytest.param(with_header(b"-> X", b"A A "), id="a space in a body"),
        pytest.param(with_header(b"-> X", b"AA\r"), id="a carriage return"),
        pytest.param(with_header(b"-> X", b"A-_A"), id="base64 for URLs"),
        pytest.param(with_header(b"-> X", b"AAAA", b"AAAA"), id="a short line in between"),
        pytest.param(with_header(b"-> X", b"", b""), id="a line of nothing"),
    ],
)
def test_a_header_that_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse(data)
    assert caught.value.rule == "R-6.1"


@pytest.mark.rule("R-6.1")
def test_armor_is_refused() -> None:
    armored = pyrage.encrypt(b"x", [pyrage.x25519.Recipient.from_str(recipient())], armored=True)
    with pytest.raises(Malformed):
        parse(armored)


def test_a_header_of_every_length_is_refused() -> None:
    data = seal(b"x")
    for length in range(parse(data).length):
        with pytest.raises(Malformed):
            parse(data[:length])


def quickly(call: Callable[[], object]) -> None:
    """Run *call*, which must be refused with LimitExceeded in no time."""
    start = time.process_time()
    with pytest.raises(LimitExceeded) as caught:
        call()
    assert time.process_time() - start < 0.1
    assert caught.value.rule in {"R-6.2", "R-6.4"}


@pytest.mark.rule("R-6.2")
def test_64_kilobytes_of_tiny_stanzas_are_refused_at_once() -> None:
    quickly(lambda: agefile.parse_header(with_header(*[b"-> a", b""] * 10_000), max_length=limits.MAX_AGE_HEADER))


@pytest.mark.rule("R-6.2")
def test_a_stanza_of_260_kilobytes_is_refused_at_once() -> None:
    bomb = with_header(b"-> a", *[b"A" * 64] * 4000, b"")
    quickly(lambda: agefile.parse_header(bomb, max_length=limits.MAX_AGE_HEADER))


@pytest.mark.rule("R-6.2")
def test_a_line_that_never_ends_is_refused_at_once() -> None:
    quickly(lambda: parse(agefile.MAGIC + b"-> " + b"a" * 10_000_000))


@pytest.mark.rule("R-6.2")
@pytest.mark.parametrize(
    ("most", "one_more"),
    [
        pytest.param([b"-> a", b""] * 128, [b"-> a", b""], id="stanzas"),
        pytest.param([b"-> a", *[b"A" * 64] * 63], [b"A" * 64], id="lines"),
    ],
)
def test_a_header_may_reach_its_bounds_and_no_more(most: list[bytes], one_more: list[bytes]) -> None:
    end = [b""] if most[-1] else []
    assert parse(with_header(*most, *end)).stanzas
    with pytest.raises(LimitExceeded):
        parse(with_header(*most, *one_more, *end))


@pytest.mark.rule("R-6.2")
def test_a_header_may_be_as_long_as_its_limit_and_no_longer() -> None:
    length = parse(with_header(b"-> a", b"")).length
    data = with_header(b"-> a" + b"a" * (MAX - length), b"")
    assert parse(data).length == MAX
    with pytest.raises(LimitExceeded):
        parse(with_header(b"-> a" + b"a" * (MAX - length + 1), b""))


# --- X25519 ---------------------------------------------------------------------------------------------------------


def test_a_stanza_for_somebody_else_gives_nothing() -> None:
    assert agefile.X25519Identity(bytes(32)).unwrap(parse(seal(b"x")).stanzas[0]) is None


SHARE = parse(seal(b"x")).stanzas[0].args[1]


@pytest.mark.rule("R-6.3")
@pytest.mark.parametrize(
    "stanza",
    [
        pytest.param(agefile.Stanza(("X25519",), bytes(32)), id="no share"),
        pytest.param(agefile.Stanza(("X25519", SHARE, "x"), bytes(32)), id="another argument"),
        pytest.param(agefile.Stanza(("X25519", SHARE), bytes(31)), id="a short body"),
        pytest.param(agefile.Stanza(("X25519", SHARE), bytes(33)), id="a long body"),
        pytest.param(agefile.Stanza(("X25519", SHARE[:40]), bytes(32)), id="a short share"),
        pytest.param(agefile.Stanza(("X25519", SHARE + "="), bytes(32)), id="a padded share"),
        pytest.param(agefile.Stanza(("X25519", "A" * 43), bytes(32)), id="a share of zeros"),
        pytest.param(agefile.Stanza(("X25519", "AQ" + "A" * 41), bytes(32)), id="a share of order 1"),
    ],
)
def test_an_x25519_stanza_of_another_shape_is_refused(stanza: agefile.Stanza) -> None:
    with pytest.raises(Malformed):
        agefile.X25519Identity(SECRET).unwrap(stanza)


# --- payloads -------------------------------------------------------------------------------------------------------

SEALED = seal(content(2 * CHUNK + 100))
START = parse(SEALED).length + 16
SIZE = CHUNK + 16


def chunk(number: int) -> bytes:
    return SEALED[START + number * SIZE : START + (number + 1) * SIZE]


ALIGNED = seal(content(CHUNK))
OTHER = seal(b"x", seed=1)


@pytest.mark.rule("R-6.1")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(SEALED[:-1], id="a byte is missing"),
        pytest.param(SEALED + b"\0", id="a byte more"),
        pytest.param(SEALED[: START + 2 * SIZE], id="the last chunk is missing"),
        pytest.param(SEALED[: START + SIZE], id="two chunks are missing"),
        pytest.param(SEALED[:START], id="no chunk"),
        pytest.param(SEALED[: START + 15], id="less than a tag"),
        pytest.param(SEALED[: START - 1], id="half a nonce"),
        pytest.param(SEALED[:START] + chunk(1) + chunk(0) + chunk(2), id="chunks swapped"),
        pytest.param(SEALED[:START] + chunk(0) + chunk(0) + chunk(2), id="a chunk doubled"),
        pytest.param(SEALED[:START] + chunk(0) + chunk(2), id="a chunk dropped"),
        pytest.param(SEALED[:START] + chunk(2), id="the last chunk alone"),
        pytest.param(SEALED + chunk(2), id="the last chunk twice"),
        pytest.param(SEALED[:START] + bytes(16), id="a chunk of zeros"),
        pytest.param(SEALED[: START - 16] + bytes(16) + SEALED[START:], id="another nonce"),
        pytest.param(ALIGNED + bytes(16), id="a tag of zeros behind a full chunk"),
        pytest.param(OTHER[: parse(OTHER).length] + SEALED[START - 16 :], id="another file's payload"),
    ],
)
def test_a_payload_that_was_changed_is_refused(data: bytes) -> None:
    with pytest.raises(AuthenticationFailed):
        open_file(data)


@pytest.mark.rule("R-6.1")
def test_an_empty_chunk_at_the_end_is_refused_though_it_authenticates() -> None:
    header = parse(ALIGNED)
    file_key = agefile.X25519Identity(SECRET).unwrap(header.stanzas[0])
    assert file_key is not None
    nonce = ALIGNED[header.length : header.length + 16]
    cipher = ChaCha20Poly1305(agefile._hkdf(file_key, nonce, b"payload"))
    full = cipher.encrypt(agefile._chunk_nonce(0, last=False), content(CHUNK), None)
    empty = cipher.encrypt(agefile._chunk_nonce(1, last=True), b"", None)
    with pytest.raises(AuthenticationFailed, match="empty"):
        agefile.open_payload(ALIGNED[: header.length + 16] + full + empty, header, file_key)


@pytest.mark.rule("R-6.1")
def test_every_bit_of_a_sealed_file_matters() -> None:
    data = bytearray(seal(b"some bytes"))
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            try:
                header = parse(bytes(data))
                file_key = agefile.X25519Identity(SECRET).unwrap(header.stanzas[0])
                assert file_key is None or agefile.open_payload(bytes(data), header, file_key) is None
            except (Malformed, AuthenticationFailed):
                pass
            data[position] ^= 1 << bit


# --- passphrases ----------------------------------------------------------------------------------------------------


def seal_passphrase(passphrase: str = "correct horse", work_factor: int = 2) -> bytes:
    return agefile.seal_passphrase(b"x", passphrase, seeded(), work_factor=work_factor)


def open_passphrase(
    data: bytes, passphrase: str = "correct horse", most: int = limits.SCRYPT_READ_WORK_FACTOR
) -> bytes:
    return agefile.open_passphrase(data, parse(data), passphrase, max_work_factor=most)


def with_factor(factor: str) -> bytes:
    """A file to a passphrase that says it has another work factor; the rest can't be right then."""
    stanza = parse(seal_passphrase()).stanzas[0]
    changed = agefile.Stanza((*stanza.args[:2], factor), stanza.body)
    return agefile.MAGIC + changed.encode() + b"--- " + b"A" * 43 + b"\n" + bytes(48)


@pytest.mark.parametrize("passphrase", ["correct horse", "größer ✓", "x" * 1000, " "])
def test_a_passphrase_opens_what_it_sealed(passphrase: str) -> None:
    assert open_passphrase(seal_passphrase(passphrase), passphrase) == b"x"


@pytest.mark.ci
@pytest.mark.rule("R-6.9")
def test_pyrage_opens_a_passphrase_file_of_the_factor_that_is_written() -> None:
    sealed = seal_passphrase(work_factor=limits.SCRYPT_WORK_FACTOR)
    assert parse(sealed).stanzas[0].args[2] == "18"
    assert pyrage.passphrase.decrypt(sealed, "correct horse") == b"x"


def test_the_age_program_opens_a_passphrase_file(tmp_path: Path) -> None:
    (tmp_path / "sealed").write_bytes(seal_passphrase())
    on_a_terminal("age", "-d", "-o", tmp_path / "out", tmp_path / "sealed", answers=["correct horse"])
    assert (tmp_path / "out").read_bytes() == b"x"


@pytest.mark.ci
def test_what_the_age_program_seals_to_a_passphrase_is_opened(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    on_a_terminal("age", "-p", "-o", tmp_path / "out", tmp_path / "plain", answers=["correct horse", "correct horse"])
    assert open_passphrase((tmp_path / "out").read_bytes()) == b"x"


def test_another_passphrase_is_told_from_damage() -> None:
    with pytest.raises(WrongPassphrase):
        open_passphrase(seal_passphrase(), "correct house")


@pytest.mark.rule("R-6.1")
def test_a_passphrase_file_with_a_changed_payload_is_refused() -> None:
    sealed = seal_passphrase()
    with pytest.raises(AuthenticationFailed):
        open_passphrase(sealed[:-1] + bytes([sealed[-1] ^ 1]))


@pytest.mark.rule("R-6.4", "R-13.3")
@pytest.mark.parametrize("factor", ["21", "24", "64", "99", "100", "999999999999999999999"])
def test_a_work_factor_above_the_limit_is_refused_without_deriving(factor: str) -> None:
    quickly(lambda: open_passphrase(with_factor(factor)))


@pytest.mark.rule("R-6.4")
@pytest.mark.parametrize("factor", ["23", "24"])
def test_a_work_factor_above_22_is_refused_whatever_the_caller_allows(factor: str) -> None:
    quickly(lambda: open_passphrase(with_factor(factor), most=99))


@pytest.mark.rule("R-6.4")
@pytest.mark.parametrize("factor", [21, 22])
def test_a_work_factor_that_the_caller_allows_is_derived(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    data = with_factor(str(factor))

    def derive(_passphrase: str, _salt: bytes, work_factor: int) -> bytes:  # factor 22 would take 4 GiB
        asked.append(work_factor)
        return bytes(32)

    monkeypatch.setattr(agefile, "_scrypt", derive)
    with pytest.raises(WrongPassphrase):
        open_passphrase(data, most=factor)
    assert asked == [factor]


@pytest.mark.rule("R-6.4")
@pytest.mark.parametrize("factor", ["0", "01", "018", "-1", "+2", "2.0", "0x2", "2_0", "x"])
def test_a_work_factor_that_is_no_plain_number_is_refused(factor: str) -> None:
    with pytest.raises(Malformed):
        open_passphrase(with_factor(factor))


@pytest.mark.rule("R-6.4")
@pytest.mark.parametrize(
    "stanza",
    [
        pytest.param(agefile.Stanza(("scrypt",), bytes(32)), id="no salt"),
        pytest.param(agefile.Stanza(("scrypt", "A" * 22), bytes(32)), id="no factor"),
        pytest.param(agefile.Stanza(("scrypt", "A" * 22, "2", "x"), bytes(32)), id="another argument"),
        pytest.param(agefile.Stanza(("scrypt", "A" * 20, "2"), bytes(32)), id="a short salt"),
        pytest.param(agefile.Stanza(("scrypt", "A" * 22, "2"), bytes(31)), id="a short body"),
    ],
)
def test_a_passphrase_stanza_of_another_shape_is_refused(stanza: agefile.Stanza) -> None:
    data = agefile.MAGIC + stanza.encode() + b"--- " + b"A" * 43 + b"\n" + bytes(48)
    with pytest.raises(Malformed):
        open_passphrase(data)


@pytest.mark.rule("R-6.4")
def test_a_passphrase_stanza_beside_another_is_refused() -> None:
    alone = parse(seal_passphrase()).stanzas
    grease = agefile.Stanza(("x-grease",), b"")
    header = agefile.Header((*alone, grease), bytes(32), b"", 0)
    with pytest.raises(Malformed) as caught:
        agefile.is_passphrase(header)
    assert caught.value.rule == "R-6.4"


def test_a_file_to_keys_is_not_one_to_a_passphrase() -> None:
    assert not agefile.is_passphrase(parse(seal(b"x")))


def test_a_passphrase_that_is_no_text_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        seal_passphrase("hush\udc80hush")
    assert "hush" not in repr(caught.value) + repr(caught.value.__cause__)


# --- text forms -----------------------------------------------------------------------------------------------------

ARMORED = armor(seal(b"x" * 100))


def test_armor_is_taken_off() -> None:
    assert agetext.dearmor(b"\n" + ARMORED.replace(b"\n", b"\r\n")) == seal(b"x" * 100)


def test_a_binary_file_has_no_armor() -> None:
    assert agetext.dearmor(seal(b"x")) == seal(b"x")


@pytest.mark.parametrize(
    "armored",
    [
        pytest.param(ARMORED[:-8], id="cut off"),
        pytest.param(ARMORED[:40] + b"*" + ARMORED[41:], id="no base64"),
        pytest.param(ARMORED[:60] + ARMORED[61:], id="a short line"),
        pytest.param(ARMORED.replace(b"\n", b"\n\n", 2), id="an empty line"),
        pytest.param(ARMORED.replace(b"\n-----END", b" \n-----END"), id="a space"),
        pytest.param(ARMORED.replace(b"\n-----END", b"-----END"), id="no line of its own"),
        pytest.param(ARMORED.replace(b"FILE-----\n", b"FILE-----X\n", 1), id="another marker"),
        pytest.param(b"-----BEGIN AGE ENCRYPTED FILE-----", id="nothing else"),
    ],
)
def test_broken_armor_is_refused(armored: bytes) -> None:
    with pytest.raises(Malformed):
        agetext.dearmor(armored)


@given(st.binary(min_size=32, max_size=32))
def test_an_identity_is_decoded_to_its_secret(secret: bytes) -> None:
    assert agetext.decode_identity(agetext.encode_identity(secret)) == secret


IDENTITY = agetext.encode_identity(SECRET)


@pytest.mark.rule("R-6.5")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(IDENTITY.lower(), id="lower case"),
        pytest.param(IDENTITY[:20] + IDENTITY[20:].lower(), id="mixed case"),
        pytest.param(IDENTITY[:-1], id="cut off"),
        pytest.param(IDENTITY[:-1] + "1", id="a letter that bech32 hasn't"),
        pytest.param(IDENTITY.replace("AGE-SECRET-KEY-", "AGE-SECRET-KEZ-"), id="another prefix"),
        pytest.param("AGE-SECRET-KEY-1", id="the prefix alone"),
        pytest.param(IDENTITY + " ", id="a trailing space"),
        pytest.param(agetext._bech32_encode("age-secret-key-", bytes(31)).upper(), id="31 bytes"),
        pytest.param(agetext._bech32_encode("age-secret-key-", bytes(33)).upper(), id="33 bytes"),
        pytest.param(IDENTITY.replace("K", "\u212a"), id="a Kelvin sign for K"),
    ],
)
def test_a_text_that_is_no_canonical_identity_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        agetext.decode_identity(text)


@pytest.mark.rule("R-6.5")
def test_an_identity_with_any_letter_changed_is_refused() -> None:
    for position in range(len(IDENTITY)):
        letter = "Q" if IDENTITY[position] != "Q" else "P"
        with pytest.raises(Malformed):
            agetext.decode_identity(IDENTITY[:position] + letter + IDENTITY[position + 1 :])


@pytest.mark.rule("R-6.5")
def test_an_identity_with_bits_left_over_is_refused() -> None:
    # 32 bytes are 51 letters of 5 bits and one more bit: four bits must be zero.
    words = [agetext._BECH32.index(letter) for letter in IDENTITY[16:-6].lower()]
    words[-1] |= 1
    checksum = agetext._bech32_polymod([*agetext._bech32_expand("age-secret-key-"), *words, *[0] * 6]) ^ 1
    words += [checksum >> 5 * i & 31 for i in reversed(range(6))]
    with pytest.raises(Malformed):
        agetext.decode_identity("AGE-SECRET-KEY-1" + "".join(agetext._BECH32[word] for word in words).upper())
