"""Who can open a bundle: every kind of recipient and identity, and no secret in any message."""

from __future__ import annotations

import base64
import datetime as dt
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support import BUNDLE_ID, SECRET, armor, identity, keys_body, recipient, seeded

from ocbundle import agefile, agetext, keyholders, limits, sealing
from ocbundle.errors import (
    AuthenticationFailed,
    BundleError,
    InvalidIdentity,
    InvalidRecipient,
    InvalidRequest,
    KeyRequired,
    LimitExceeded,
    Malformed,
    NoKeyFits,
    WrongPassphrase,
)
from ocbundle.keyholders import Identity, Recipient
from ocbundle.sealing import BundleKey

KEY = BundleKey.generate(seeded(1))
PASSPHRASE = "correct horse battery staple"
OTHER = bytes(range(1, 33))


def wrap(*recipients: Recipient, passphrase: str | None = None) -> list[bytes]:
    return sealing.wrap(KEY, BUNDLE_ID, recipients, passphrase, seeded())


def unwrap(bodies: list[bytes], *identities: Identity, passphrase: str | None = None) -> BundleKey:
    return sealing.unwrap(bodies, BUNDLE_ID, identities, passphrase)


def kinds(bodies: list[bytes]) -> list[tuple[str, ...]]:
    return [sealing.recipient_kinds(body) for body in bodies]


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases that take no second and no memory."""
    monkeypatch.setattr(limits, "SCRYPT_WORK_FACTOR", 2)


def keygen(path: Path, *arguments: str, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-a", "1", "-N", passphrase, *arguments, "-f", path], check=True)
    return path


def chain(error: BaseException) -> str:
    """All that a log could show of *error*."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error)
    return shown + "".join(repr(value) for value in vars(error).values())


# --- recipients -----------------------------------------------------------------------------------------------------


def tag_text() -> str:
    point = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    return agetext._bech32_encode("age1tag", point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))


def tagpq_text() -> str:
    """A recipient that nobody can open: a lattice of zeros has the form of a key."""
    point = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    encoded = bytes(1184) + point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return agetext._bech32_encode("age1tagpq", encoded)


@pytest.mark.rule("R-6.5", "R-6.10")
def test_an_x25519_recipient_opens_what_is_sealed_to_it() -> None:
    bodies = wrap(keyholders.parse_recipient(recipient()))
    assert kinds(bodies) == [("X25519",)]
    assert unwrap(bodies, *identity()) == KEY


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_an_ssh_key_opens_what_is_sealed_to_it(tmp_path: Path, kind: str) -> None:
    path = keygen(tmp_path / "key", "-t", kind, "-C", "alice@alpha")
    parsed = keyholders.parse_recipient((tmp_path / "key.pub").read_text())
    assert (parsed.kind, parsed.text.count(" ")) == (f"ssh-{kind}", 1)
    bodies = wrap(parsed)
    (opener,) = keyholders.read_identities(path)
    assert kinds(bodies) == [(f"ssh-{kind}",)]
    assert opener.recipient == parsed.text
    assert unwrap(bodies, opener) == KEY


def test_a_tag_recipient_gets_a_stanza() -> None:
    parsed = keyholders.parse_recipient(tag_text())
    assert (parsed.kind, parsed.is_post_quantum) == ("p256tag", False)
    assert kinds(wrap(parsed)) == [("p256tag",)]


@pytest.mark.rule("R-6.6")
def test_post_quantum_and_classic_recipients_get_sections_of_their_own() -> None:
    parsed = keyholders.parse_recipient(tagpq_text())
    assert (parsed.kind, parsed.is_post_quantum) == ("mlkem768p256tag", True)
    bodies = wrap(parsed, keyholders.parse_recipient(recipient()), keyholders.parse_recipient(tag_text()))
    assert kinds(bodies) == [("X25519", "p256tag"), ("mlkem768p256tag",)]


@pytest.mark.rule("R-6.10")
def test_the_stock_age_program_reads_the_key_and_the_recipients(tmp_path: Path) -> None:
    (tmp_path / "me.txt").write_text(agetext.encode_identity(SECRET))
    (body,) = wrap(keyholders.parse_recipient(recipient()), keyholders.parse_recipient(tag_text()))
    age = subprocess.run(["age", "-d", "-i", tmp_path / "me.txt"], input=body, capture_output=True, check=True)
    assert age.stdout.decode().splitlines() == [
        f"# bundle: {BUNDLE_ID.hex()}",
        f"# recipient: {recipient()}",
        f"# recipient: {tag_text()}",
        KEY.text.decode(),
    ]


def test_a_recipient_given_twice_gets_one_stanza() -> None:
    one = keyholders.parse_recipient(recipient())
    assert kinds(wrap(one, keyholders.parse_recipient(f" {recipient()}\n"))) == [("X25519",)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("alice", id="a name"),
        pytest.param(recipient()[:-1], id="cut off"),
        pytest.param(recipient()[:-1] + "q", id="a letter changed"),
        pytest.param("ssh-ed25519 AAAA", id="no SSH key"),
        pytest.param("ssh-ed25519", id="an SSH type alone"),
        pytest.param("ssh-rsa AAAAB3NzaC1yc2E", id="half an SSH key"),
        pytest.param("ecdsa-sha2-nistp256 AAAA", id="an SSH key of another kind"),
        pytest.param("age1tag1qqqq", id="no tag"),
        pytest.param("age1tagpq1qqqq", id="no post-quantum tag"),
        pytest.param("age1yubikey1qqqq", id="a plugin's, cut off"),
        pytest.param("age1" + "q" * 10_000, id="long"),
        pytest.param("\x1b[2J", id="an escape sequence"),
    ],
)
def test_a_text_that_is_no_recipient_is_refused(text: str) -> None:
    with pytest.raises(InvalidRecipient) as caught:
        keyholders.parse_recipient(text)
    assert len(caught.value.message) < 200
    assert "\x1b" not in caught.value.message


def test_native_post_quantum_recipients_are_refused_by_name() -> None:
    with pytest.raises(InvalidRecipient, match="age1pq1"):
        keyholders.parse_recipient("age1pq1qqqq")


def test_a_secret_key_given_as_a_recipient_is_not_repeated() -> None:
    text = agetext.encode_identity(SECRET)
    for given in (text, text.lower()):
        with pytest.raises(InvalidRecipient, match="secret key") as caught:
            keyholders.parse_recipient(given)
        assert text[20:40] not in chain(caught.value).upper()


# --- recipients files -----------------------------------------------------------------------------------------------


def test_a_recipients_file_may_have_comments_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "team.txt"
    path.write_text(f"# the team\n\n{recipient()}\r\n  # more\n{tag_text()}  \n")
    assert [parsed.text for parsed in keyholders.read_recipients(path)] == [recipient(), tag_text()]


def test_a_bad_line_of_a_recipients_file_is_named_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "team.txt"
    path.write_text(f"{recipient()}\nhushhush\n")
    with pytest.raises(InvalidRecipient, match="line 2 isn't") as caught:
        keyholders.read_recipients(path)
    assert "hushhush" not in chain(caught.value)


def test_a_private_key_given_as_a_recipients_file_is_not_repeated(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", "-t", "ed25519")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[1:]))
    with pytest.raises(InvalidRecipient) as caught:
        keyholders.read_recipients(path)
    assert lines[1] not in chain(caught.value)


def test_a_recipients_file_without_a_recipient_is_refused(tmp_path: Path) -> None:
    (tmp_path / "team.txt").write_text("# nobody\n")
    with pytest.raises(InvalidRecipient, match="no recipient"):
        keyholders.read_recipients(tmp_path / "team.txt")


def test_a_file_too_long_for_keys_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidRequest, match="too long"):
        keyholders.read_recipients(tmp_path / "huge")
    with pytest.raises(InvalidRequest, match="too long"):
        keyholders.read_identities(tmp_path / "huge")


# --- what can't be wrapped ------------------------------------------------------------------------------------------


def test_a_bundle_for_nobody_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nobody"):
        wrap()


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        wrap(passphrase="")


@pytest.mark.rule("R-6.6")
def test_a_hundred_recipients_fit_and_one_more_is_refused() -> None:
    rng = seeded()
    many = [keyholders.parse_recipient(recipient(rng(32))) for _ in range(101)]
    assert kinds(wrap(*many[:100])) == [("X25519",) * 100]
    with pytest.raises(InvalidRequest, match="101"):
        wrap(*many)


def rsa_recipient(number: int) -> Recipient:
    """A recipient of 4096 bits that nobody can open: its modulus is no product of primes."""
    modulus = int.from_bytes(b"\xc1" + seeded(number)(510) + b"\x01")
    public = rsa.RSAPublicNumbers(65537, modulus).public_key()
    return keyholders.parse_recipient(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


@pytest.mark.ci
@pytest.mark.rule("R-6.2", "R-6.6", "R-6.8")
@pytest.mark.parametrize("count", [20, 50, 70])
def test_recipients_too_long_for_one_section_get_several(count: int) -> None:
    mine = keyholders.parse_recipient(recipient())
    others = [rsa_recipient(number) for number in range(count)]
    bodies = wrap(*others, mine)
    assert (len(bodies) > 1) == (count > 20)
    assert [kind for section in kinds(bodies) for kind in section] == ["ssh-rsa"] * count + ["X25519"]
    for body in bodies:
        header = agefile.parse_header(body, max_length=16 << 10)
        assert len(body) - header.length <= (48 << 10) + 64
    (identity,) = keyholders.parse_identities(agetext.encode_identity(SECRET).encode(), "key.txt")
    assert sealing.unwrap(bodies, BUNDLE_ID, [identity], None) == KEY


def test_recipients_too_many_for_a_bundle_are_the_callers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEYS_SECTIONS", 2)
    with pytest.raises(InvalidRequest, match="keys of 70 recipients"):
        wrap(*(rsa_recipient(number) for number in range(70)))


def test_a_recipient_too_long_for_a_section_is_the_callers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEYS_PLAINTEXT", 500)
    with pytest.raises(InvalidRequest, match="too long"):
        wrap(rsa_recipient(1))


# --- passphrases ----------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-6.4", "R-6.9")
def test_a_passphrase_is_written_with_work_factor_18() -> None:
    (body,) = wrap(passphrase=PASSPHRASE)
    assert agefile.parse_header(body, max_length=limits.MAX_AGE_HEADER).stanzas[0].args[2] == "18"


@pytest.mark.usefixtures("cheap")
def test_a_passphrase_and_recipients_of_all_kinds_open_one_bundle(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", "-t", "ed25519")
    ssh = keyholders.parse_recipient((tmp_path / "key.pub").read_text())
    bodies = wrap(
        keyholders.parse_recipient(recipient()),
        ssh,
        keyholders.parse_recipient(tagpq_text()),
        passphrase=PASSPHRASE,
    )
    assert kinds(bodies) == [("scrypt",), ("X25519", "ssh-ed25519"), ("mlkem768p256tag",)]
    stranger = identity(OTHER)
    assert unwrap(bodies, *identity()) == KEY
    assert unwrap(bodies, *stranger, *keyholders.read_identities(path)) == KEY
    assert unwrap(bodies, passphrase=PASSPHRASE) == KEY
    assert unwrap(bodies, *stranger, passphrase=PASSPHRASE) == KEY


@pytest.mark.usefixtures("cheap")
@pytest.mark.rule("R-6.12")
def test_what_opens_nothing_is_named_for_what_was_given() -> None:
    to_key, to_passphrase = wrap(keyholders.parse_recipient(recipient())), wrap(passphrase=PASSPHRASE)
    stranger = identity(OTHER)
    for bodies, identities, passphrase, error in [
        (to_key, (), None, KeyRequired),
        (to_passphrase, (), None, KeyRequired),
        (to_key, stranger, None, NoKeyFits),
        (to_key, (), "wrong", NoKeyFits),
        (to_key, stranger, "wrong", NoKeyFits),
        (to_passphrase, stranger, None, NoKeyFits),
        (to_passphrase, (), "wrong", WrongPassphrase),
        (to_passphrase, stranger, "wrong", NoKeyFits),
        (to_passphrase + to_key, (), "wrong", WrongPassphrase),
    ]:
        with pytest.raises(BundleError) as caught:
            sealing.unwrap(bodies, BUNDLE_ID, identities, passphrase)
        assert type(caught.value) is error


def test_what_does_not_open_is_named_by_the_files_that_were_tried() -> None:
    with pytest.raises(NoKeyFits, match=r"key\.txt"):
        unwrap(wrap(keyholders.parse_recipient(recipient())), *identity(OTHER))


@pytest.mark.rule("R-6.4")
def test_two_sections_to_passphrases_are_refused() -> None:
    body = agefile.seal_passphrase(b"x", PASSPHRASE, seeded(), work_factor=2)
    with pytest.raises(Malformed) as caught:
        unwrap([body, body], passphrase=PASSPHRASE)
    assert caught.value.rule == "R-6.4"


@pytest.mark.rule("R-6.4", "R-13.3")
def test_work_factor_24_is_refused_at_once() -> None:
    stanza = agefile.Stanza(("scrypt", "A" * 22, "24"), bytes(32))
    body = agefile.MAGIC + stanza.encode() + b"--- " + b"A" * 43 + b"\n" + bytes(48)
    start = time.process_time()
    with pytest.raises(LimitExceeded):
        unwrap([body], passphrase=PASSPHRASE)
    assert time.process_time() - start < 0.1


# --- KEYS sections that break a rule --------------------------------------------------------------------------------


def sealed_keys(text: bytes) -> list[bytes]:
    rng = seeded()
    public = agefile.x25519_public(SECRET)
    return [agefile.seal(text, lambda file_key: agefile.wrap_x25519(file_key, public, rng), rng)]


BUNDLE = f"# bundle: {BUNDLE_ID.hex()}\n".encode()


@pytest.mark.parametrize(
    ("text", "error", "rule"),
    [
        pytest.param(KEY.text + b"\n", AuthenticationFailed, "R-6.5", id="no bundle"),
        pytest.param(b"# bundle: " + b"0" * 32 + b"\n" + KEY.text, AuthenticationFailed, "R-6.5", id="another bundle"),
        pytest.param(BUNDLE.replace(b"\n", b"\r\n") + KEY.text, AuthenticationFailed, "R-6.5", id="CRLF"),
        pytest.param(BUNDLE, Malformed, "R-6.5", id="no key"),
        pytest.param(BUNDLE + KEY.text + b"\n" + KEY.text, Malformed, "R-6.5", id="two keys"),
        pytest.param(BUNDLE + KEY.text.lower(), Malformed, "R-6.5", id="lower case"),
        pytest.param(BUNDLE + b" " + KEY.text, Malformed, "R-6.5", id="a space before the key"),
        pytest.param(BUNDLE + b"x\n" + KEY.text, Malformed, "R-6.5", id="another line"),
        pytest.param(BUNDLE + b"# \xff\n" + KEY.text, Malformed, "R-6.5", id="no UTF-8"),
        pytest.param(BUNDLE + b"#" * limits.MAX_KEYS_PLAINTEXT + b"\n" + KEY.text, LimitExceeded, "R-6.8", id="long"),
    ],
)
@pytest.mark.rule("R-6.5", "R-6.8")
def test_keys_that_break_a_rule_are_refused(text: bytes, error: type[BundleError], rule: str) -> None:
    with pytest.raises(error) as caught:
        unwrap(sealed_keys(text), *identity())
    assert caught.value.rule == rule
    assert KEY.text.decode()[20:40] not in chain(caught.value).upper()


@pytest.mark.rule("R-6.5")
def test_keys_may_have_comments_of_a_newer_writer() -> None:
    assert unwrap(sealed_keys(b"# newer: 1\n\n" + BUNDLE + KEY.text), *identity()) == KEY


@pytest.mark.rule("R-6.1")
def test_no_byte_of_a_keys_section_can_be_changed() -> None:
    body = bytearray(keys_body(KEY, BUNDLE_ID, seeded()))
    start = agefile.parse_header(bytes(body), max_length=limits.MAX_AGE_HEADER).length
    for position in range(len(body)):
        body[position] ^= 1
        # A changed stanza can't be told from one for somebody else.
        allowed = (AuthenticationFailed,) if position >= start else (AuthenticationFailed, NoKeyFits, Malformed)
        with pytest.raises(allowed):
            unwrap([bytes(body)], *identity())
        body[position] ^= 1


@pytest.mark.rule("R-6.1")
def test_a_cut_keys_section_is_tampering() -> None:
    body = keys_body(KEY, BUNDLE_ID, seeded())
    start = agefile.parse_header(body, max_length=limits.MAX_AGE_HEADER).length
    for length in range(start, len(body)):
        with pytest.raises(AuthenticationFailed):
            unwrap([body[:length]], *identity())


@pytest.mark.rule("R-6.1")
def test_armored_keys_are_refused() -> None:
    armored = pyrage.encrypt(BUNDLE + KEY.text, [pyrage.x25519.Recipient.from_str(recipient())], armored=True)
    with pytest.raises(Malformed):
        unwrap([armored], *identity())


# --- the bundle key -------------------------------------------------------------------------------------------------


def test_a_bundle_key_opens_what_it_seals_and_no_other_does() -> None:
    body = KEY.seal(b"content", seeded())
    assert bytes(KEY.open(body)) == b"content"
    with pytest.raises(AuthenticationFailed) as caught:
        BundleKey.generate(seeded(2)).open(body)
    assert caught.value.rule == "R-6.3"


@pytest.mark.rule("R-6.7")
def test_a_bundle_key_is_made_from_the_randomness_at_hand() -> None:
    assert BundleKey.generate(os.urandom) != BundleKey.generate(os.urandom)


def sealed_with(*more: agefile.Stanza, first: bool = True) -> bytes:
    """A body to the bundle key whose header has *more* stanzas, and a right MAC."""
    file_key = bytes(16)
    own = agefile.wrap_x25519(file_key, agefile.x25519_public(KEY.secret), seeded())
    stanzas = [own, *more] if first else [*more]
    signed = agefile.MAGIC + b"".join(stanza.encode() for stanza in stanzas) + b"---"
    mac = base64.b64encode(agefile._header_mac(file_key, signed)).rstrip(b"=")
    whole = agefile.seal(b"content", lambda _: own, bytes)
    return signed + b" " + mac + b"\n" + whole[agefile.parse_header(whole, max_length=999).length :]


@pytest.mark.rule("R-6.3")
def test_grease_beside_the_bundle_keys_stanza_is_accepted() -> None:
    assert bytes(KEY.open(sealed_with(agefile.Stanza(("x-grease", "y"), b"z")))) == b"content"


@pytest.mark.rule("R-6.3")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(sealed_with(agefile.wrap_x25519(bytes(16), bytes(31) + b"\x09", seeded())), id="two recipients"),
        pytest.param(sealed_with(agefile.Stanza(("ssh-rsa", "x"), b"")), id="an SSH key"),
        pytest.param(sealed_with(agefile.Stanza(("scrypt", "x", "1"), b"")), id="a passphrase"),
        pytest.param(sealed_with(agefile.Stanza(("x-grease",), b""), first=False), id="grease alone"),
    ],
)
def test_a_section_that_is_not_sealed_to_one_key_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        KEY.open(body)
    assert caught.value.rule == "R-6.3"


@pytest.mark.rule("R-6.2")
def test_a_section_with_a_header_longer_than_16_kib_is_refused() -> None:
    with pytest.raises(LimitExceeded):
        KEY.open(sealed_with(*[agefile.Stanza(("x-grease", "y" * 8000), b"")] * 3))


# --- identities -----------------------------------------------------------------------------------------------------


def test_a_generated_identity_is_a_file_that_age_keygen_could_have_written() -> None:
    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    text, public = keyholders.generate_identity(now=now, random=seeded())
    assert text.splitlines()[:2] == ["# created: 2026-01-02T03:04:05+00:00", f"# public key: {public}"]
    keygen = subprocess.run(["age-keygen", "-y"], input=text, capture_output=True, check=True, text=True)
    assert keygen.stdout.strip() == public
    assert keyholders.parse_identities(text.encode(), "key.txt")[0].recipient == public


def test_an_identity_file_may_hold_several_with_comments_between() -> None:
    lines = [agetext.encode_identity(secret) for secret in (SECRET, OTHER)]
    data = f"# one\r\n{lines[0]}\r\n\n  # two\n {lines[1]}\n".encode()
    found = keyholders.parse_identities(data, "key.txt")
    assert [item.recipient for item in found] == [recipient(), recipient(OTHER)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"# public key: age1\n", id="comments"),
        pytest.param(recipient().encode(), id="a recipient"),
        pytest.param(b"\xff\xfe\0\0", id="no text"),
        pytest.param(agetext.encode_identity(SECRET)[:-1].encode(), id="cut off"),
        pytest.param(agetext.encode_identity(SECRET).encode() + b"\nx", id="a bad second line"),
        pytest.param(b"AGE-PLUGIN-", id="no plugin"),
        pytest.param(b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n", id="no SSH key"),
        pytest.param(b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n", id="no PEM key"),
        pytest.param(b"-----BEGIN AGE ENCRYPTED FILE-----\nx\n", id="no armor"),
        pytest.param(agefile.MAGIC, id="half an age file"),
        pytest.param(keys_body(KEY, BUNDLE_ID, seeded()), id="an age file to a key"),
    ],
)
def test_a_file_without_an_identity_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidIdentity) as caught:
        keyholders.parse_identities(data, "key.txt", lambda _: "x")
    assert agetext.encode_identity(SECRET)[20:40] not in chain(caught.value)


def test_a_line_that_is_no_identity_is_named_and_not_repeated() -> None:
    data = f"{agetext.encode_identity(SECRET)}\nAGE-SECRET-KEY-1HUSHHUSH\n".encode()
    with pytest.raises(InvalidIdentity, match="line 2") as caught:
        keyholders.parse_identities(data, "key.txt")
    assert "HUSHHUSH" not in chain(caught.value)


def sealed_identity(*, armored: bool) -> bytes:
    sealed = agefile.seal_passphrase(agetext.encode_identity(SECRET).encode(), PASSPHRASE, seeded(), work_factor=2)
    return armor(sealed) if armored else sealed


@pytest.mark.parametrize("armored", [False, True])
def test_an_identity_file_under_a_passphrase_is_opened_by_asking_once(tmp_path: Path, armored: bool) -> None:  # noqa: FBT001
    (tmp_path / "key.age").write_bytes(sealed_identity(armored=armored))
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return PASSPHRASE

    (found,) = keyholders.read_identities(tmp_path / "key.age", ask)
    assert (found.recipient, asked) == (recipient(), [str(tmp_path / "key.age")])


def changed(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("data", "answer", "error"),
    [
        pytest.param(sealed_identity(armored=False), "wrong", WrongPassphrase, id="another passphrase"),
        pytest.param(sealed_identity(armored=True), "", WrongPassphrase, id="no passphrase"),
        pytest.param(changed(sealed_identity(armored=False)), PASSPHRASE, InvalidIdentity, id="damaged"),
        pytest.param(sealed_identity(armored=True)[:60], PASSPHRASE, InvalidIdentity, id="cut off"),
    ],
)
def test_an_identity_file_that_does_not_open_is_named(data: bytes, answer: str, error: type[BundleError]) -> None:
    with pytest.raises(error, match=r"key\.age") as caught:
        keyholders.parse_identities(data, "key.age", lambda _: answer)
    assert PASSPHRASE not in chain(caught.value)


def test_an_identity_file_under_a_passphrase_and_nobody_to_ask_is_refused() -> None:
    with pytest.raises(InvalidIdentity, match="passphrase"):
        keyholders.parse_identities(sealed_identity(armored=False), "key.age")


SSH_KEYS = [
    pytest.param(("-t", "ed25519"), id="ed25519"),
    pytest.param(("-t", "rsa", "-b", "2048"), id="rsa"),
    pytest.param(("-t", "rsa", "-b", "2048", "-m", "PEM"), id="PKCS 1"),
    pytest.param(("-t", "rsa", "-b", "2048", "-m", "PKCS8"), id="PKCS 8"),
]


@pytest.mark.parametrize("arguments", SSH_KEYS)
@pytest.mark.parametrize("passphrase", ["", PASSPHRASE], ids=["plain", "encrypted"])
def test_an_ssh_key_of_every_form_opens_a_bundle(tmp_path: Path, arguments: tuple[str, ...], passphrase: str) -> None:
    path = keygen(tmp_path / "key", *arguments, passphrase=passphrase)
    bodies = wrap(keyholders.parse_recipient((tmp_path / "key.pub").read_text()))
    assert unwrap(bodies, *keyholders.read_identities(path, lambda _: passphrase)) == KEY


@pytest.mark.parametrize("arguments", SSH_KEYS)
def test_an_encrypted_ssh_key_with_another_passphrase_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = keygen(tmp_path / "key", *arguments, passphrase=PASSPHRASE)
    with pytest.raises(WrongPassphrase):
        keyholders.read_identities(path, lambda _: "wrong")
    with pytest.raises(WrongPassphrase):
        keyholders.read_identities(path, lambda _: "")
    with pytest.raises(InvalidIdentity, match="passphrase"):
        keyholders.read_identities(path)


def test_an_ssh_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidIdentity, match="another kind"):
        keyholders.read_identities(keygen(tmp_path / "key", "-t", "ecdsa"))


def test_an_ssh_key_that_pyrage_does_not_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        @staticmethod
        def from_buffer(data: bytes) -> None:
            raise pyrage.IdentityError(data.decode())

    path = keygen(tmp_path / "key", "-t", "ed25519")
    monkeypatch.setattr(pyrage.ssh, "Identity", Refusing)
    with pytest.raises(InvalidIdentity, match="can't be used") as caught:
        keyholders.read_identities(path)
    assert path.read_text().splitlines()[1] not in chain(caught.value)


def test_an_older_cryptography_that_misses_a_passphrase_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_data: bytes, _passphrase: None) -> None:
        raise ValueError("Key is password-protected, but password was not provided.")

    monkeypatch.setattr(serialization, "load_ssh_private_key", load)
    with pytest.raises(InvalidIdentity, match="passphrase"):
        keyholders.parse_identities(b"-----BEGIN OPENSSH PRIVATE KEY-----", "key")


def test_an_ssh_passphrase_that_is_no_text_is_refused_without_being_repeated(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", "-t", "ed25519", passphrase=PASSPHRASE)
    with pytest.raises(InvalidRequest) as caught:
        keyholders.read_identities(path, lambda _: "hush\udc80hush")
    assert "hush" not in chain(caught.value).replace('"hush\\udc80hush"', "")


# --- plugins --------------------------------------------------------------------------------------------------------

PLUGIN = '''#!%s -IS
"""An age plugin that wraps a file key by turning it round, or refuses."""
import base64
import sys

MODE = %r

def read():
    line, body = sys.stdin.buffer.readline().split(), b""
    while len(part := sys.stdin.buffer.readline().rstrip()) == 64:
        body += part
    body += part
    return line[1:], base64.b64decode(body + b"=" * (-len(body) %% 4))

def write(*args, body=b""):
    text = base64.b64encode(body).rstrip(b"=")
    sys.stdout.buffer.write(b"-> " + b" ".join(args) + b"\\n" + text + b"\\n")
    sys.stdout.buffer.flush()

got = []
while (stanza := read())[0][0] != b"done":
    got.append(stanza)
for args, body in got:
    if args[0] in (b"wrap-file-key", b"recipient-stanza"):
        if MODE == "asks":
            write(b"msg", body=b"touch it")
            read()
            for question in ((b"confirm", b"eWVz"), (b"request-public",), (b"request-secret",)):
                write(*question, body=b"may I?")
                if read()[0] != [b"fail"]:
                    sys.exit("answered")
        if MODE == "refuses":
            write(b"error", b"internal", body=b"no token")
        elif args[0] == b"wrap-file-key":
            write(b"recipient-stanza", b"0", b"fake", body=body[::-1])
        elif args[2] == b"fake":
            write(b"file-key", args[1], body=body[::-1])
        else:
            continue
        read()
write(b"done")
'''
PLUGIN_RECIPIENT = agetext._bech32_encode("age1fake", b"12345")
PLUGIN_IDENTITY = agetext._bech32_encode("age-plugin-fake-", b"").upper()

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts ``age-plugin-fake`` on the PATH: one that works, or one that refuses."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(mode: str) -> None:
        path = tmp_path / "age-plugin-fake"
        path.write_text(PLUGIN % (sys.executable, mode))
        path.chmod(0o700)

    return write


def plugin_identity() -> tuple[Identity, ...]:
    return keyholders.parse_identities(PLUGIN_IDENTITY.encode(), "key.txt")


def test_a_plugin_opens_what_it_sealed(install: Install) -> None:
    install("works")
    parsed = keyholders.parse_recipient(PLUGIN_RECIPIENT)
    bodies = wrap(parsed, keyholders.parse_recipient(recipient()))
    assert (parsed.kind, kinds(bodies)) == ("plugin:fake", [("fake", "X25519")])
    assert unwrap(bodies, *plugin_identity()) == KEY


def test_a_plugins_questions_are_declined_without_asking_anyone(install: Install) -> None:
    install("asks")
    assert unwrap(wrap(keyholders.parse_recipient(PLUGIN_RECIPIENT)), *plugin_identity()) == KEY


def test_a_plugin_that_has_nothing_to_open_fits_nothing(install: Install) -> None:
    install("works")
    with pytest.raises(NoKeyFits, match="no identity"):
        unwrap(wrap(keyholders.parse_recipient(recipient())), *plugin_identity())


def test_a_plugin_that_refuses_to_seal_is_the_recipients_failure(install: Install) -> None:
    install("refuses")
    with pytest.raises(InvalidRecipient, match="no token"):
        wrap(keyholders.parse_recipient(PLUGIN_RECIPIENT))


def test_a_plugin_that_refuses_to_open_is_no_tampering(install: Install) -> None:
    install("works")
    bodies = wrap(keyholders.parse_recipient(PLUGIN_RECIPIENT))
    install("refuses")
    with pytest.raises(NoKeyFits, match="no token"):
        unwrap(bodies, *plugin_identity())


@pytest.mark.rule("R-6.1")
def test_a_changed_section_is_tampering_also_where_a_plugin_opens_it(install: Install) -> None:
    install("works")
    (body,) = wrap(keyholders.parse_recipient(PLUGIN_RECIPIENT))
    with pytest.raises(AuthenticationFailed):
        unwrap([changed(body)], *plugin_identity())


def test_a_plugin_that_is_not_installed_is_named() -> None:
    with pytest.raises(InvalidRecipient, match="fake") as caught:
        keyholders.parse_recipient(PLUGIN_RECIPIENT)
    assert "age-plugin-fake" in (caught.value.hint or "")
    with pytest.raises(InvalidIdentity, match="fake"):
        plugin_identity()


# --- no secret shows ------------------------------------------------------------------------------------------------


def test_no_secret_stands_in_any_representation() -> None:
    secret = agetext.encode_identity(SECRET)
    shown = repr(KEY) + str(KEY) + repr(identity()) + str(identity()[0])
    for hidden in (secret, KEY.text.decode(), repr(SECRET), repr(KEY.secret), KEY.secret.hex()):
        assert hidden not in shown


@pytest.mark.usefixtures("cheap")
def test_no_passphrase_stands_in_any_error() -> None:
    bodies = wrap(passphrase=PASSPHRASE)
    for given in (f"{PASSPHRASE}?", f"{PASSPHRASE}\udc80"):
        with pytest.raises(BundleError) as caught:
            unwrap(bodies, passphrase=given)
        # The traceback shows lines of code, which hold no passphrase, and no values.
        assert PASSPHRASE not in chain(caught.value)
