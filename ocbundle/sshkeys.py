"""SSH private keys, as the age library takes them: unencrypted OpenSSH files.

With :mod:`ocbundle.agefile` the only module that knows cryptography. No secret ever stands in a message.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from ocbundle import agefile
from ocbundle.errors import InvalidIdentity, WrongPassphrase


def unlock(data: bytes, name: str, ask: Callable[[str], str] | None) -> tuple[bytes, str]:
    """The key in the file called *name*, unencrypted, and the text of its public half.

    *ask* is called with *name* if a passphrase protects it.

    Raises:
        InvalidIdentity: it is no key that can be used, or needs a passphrase and *ask* is ``None``.
        WrongPassphrase: what *ask* gave doesn't open it.
    """
    key = _load(data, name, None)
    if key is None:
        if ask is None:
            raise InvalidIdentity(f"{name} is protected by a passphrase, and none was given", path=name)
        key = _load(data, name, agefile.encode_passphrase(ask(name)))
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        raise InvalidIdentity(f"{name} is an SSH key of another kind than ed25519 and rsa", path=name)
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return plain, public.decode("ascii")


def _load(data: bytes, name: str, passphrase: bytes | None) -> object:
    """The private key; ``None`` if it needs a passphrase and none was given."""
    load = (
        serialization.load_ssh_private_key
        if b"BEGIN OPENSSH PRIVATE KEY" in data
        else serialization.load_pem_private_key
    )
    try:
        return load(data, passphrase)
    except TypeError:
        if passphrase is not None:  # an empty one counts as none
            raise WrongPassphrase(f"the passphrase of {name} is wrong", path=name) from None
        return None
    except (ValueError, UnsupportedAlgorithm) as error:
        if passphrase is not None:
            raise WrongPassphrase(f"the passphrase of {name} is wrong", path=name) from None
        if "password" in str(error).lower():  # an older cryptography said so with a ValueError
            return None
        raise InvalidIdentity(f"{name} is an SSH key that can't be read", path=name) from None
