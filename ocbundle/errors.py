"""Every error that the library raises, and nothing else.

The tree, with the exit code that the command line gives each branch::

    BundleError                         1
    ├── DamagedBundle                   4   the file is not what was written
    │   ├── NotABundle                      it never was a bundle
    │   ├── Truncated                       its end is missing
    │   ├── ChecksumMismatch                a digest disagrees: accident
    │   ├── Malformed                       a rule of the specification is broken
    │   ├── LimitExceeded                   a limit of the specification is passed
    │   ├── AuthenticationFailed            the bundle key disagrees: tampering
    │   └── UnexpectedContent               another root digest than the one expected
    ├── UnsupportedVersion              6   a newer format: a newer reader can open it
    ├── KeyFailure                      5
    │   ├── KeyRequired                     no identity and no passphrase was given
    │   ├── NoKeyFits                       none of the identities opens it
    │   └── WrongPassphrase                 the passphrase doesn't open it
    ├── InvalidRequest                  2   the caller's arguments contradict or don't parse
    │   ├── InvalidRecipient
    │   └── InvalidIdentity
    ├── SourceFailure                   1   what should be packed can't be read
    │   └── SourceMissing
    ├── TargetFailure                   1   what should be written can't be
    │   ├── TargetExists
    │   └── NoSpace
    ├── GatewayRunning                  1   an OpenClaw gateway works on what should be packed or replaced
    ├── InstalledTooOld                 1   the OpenClaw installed here can't read the state in the bundle
    └── EntryMissing                    1   the bundle holds no such file

Errors carry data, not only words: *path* (of a file, or ``root/path`` inside a bundle), *offset* (bytes from the start
of the bundle) and *rule* (an id of the specification, such as ``R-4.8``), each ``None`` where it doesn't apply. *hint*
is what to do now.
"""

from __future__ import annotations


class BundleError(Exception):
    """Base of every error raised by ocbundle."""

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        offset: int | None = None,
        rule: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.offset = offset
        self.rule = rule
        self.hint = hint


class DamagedBundle(BundleError):
    """The file is damaged, was tampered with, or never was a bundle."""


class NotABundle(DamagedBundle):
    """The file doesn't begin as a bundle does."""


class Truncated(DamagedBundle):
    """The file ends before the bundle does."""


class ChecksumMismatch(DamagedBundle):
    """A checksum disagrees with the bytes it covers."""


class Malformed(DamagedBundle):
    """The bytes break a rule of the specification, named by :attr:`BundleError.rule`."""


class LimitExceeded(DamagedBundle):
    """A value passes a limit of the specification; raised before anything is allocated for it."""


class AuthenticationFailed(DamagedBundle):
    """Bytes that the bundle key must vouch for aren't what its holder wrote."""


class UnexpectedContent(DamagedBundle):
    """The bundle is sound, but its root digest isn't the one the caller expects."""


class UnsupportedVersion(BundleError):
    """A newer writer made this bundle, and asks for a newer reader."""


class KeyFailure(BundleError):
    """The bundle can't be opened with what was given."""


class KeyRequired(KeyFailure):
    """The operation needs an identity or a passphrase, and none was given."""


class NoKeyFits(KeyFailure):
    """None of the identities opens the bundle."""


class WrongPassphrase(KeyFailure):
    """The passphrase doesn't open the bundle, or the identity file it protects."""


class InvalidRequest(BundleError):
    """The arguments don't parse, or contradict one another."""


class InvalidRecipient(InvalidRequest):
    """A recipient, or a line of a recipients file, isn't one."""


class InvalidIdentity(InvalidRequest):
    """An identity file holds no identity that can be used."""


class SourceFailure(BundleError):
    """What should be packed can't be read."""


class SourceMissing(SourceFailure):
    """What should be packed isn't there."""


class TargetFailure(BundleError):
    """What should be written can't be."""


class TargetExists(TargetFailure):
    """Something stands where the result should go, and replacing wasn't asked for."""


class NoSpace(TargetFailure):
    """The file system has less room than is needed."""


class GatewayRunning(BundleError):
    """An OpenClaw gateway works on the state that should be packed or replaced; the hint says how to stop it."""


class InstalledTooOld(BundleError):
    """The OpenClaw that is installed here is older than the state that should be placed."""


class EntryMissing(BundleError):
    """The bundle holds no entry of that name."""
