"""What errors of the libraries below mean: the one place that knows them.

An error is known by its type where its library has one; by the code that an object store answered,
which is part of its protocol; and by words only where there is neither, as for most of what
Icechunk raises. Tests provoke each entry in the versions that are locked.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

import icechunk
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

__all__ = [
    "CHANGED",
    "CLOCKS",
    "OBJECT_STORE",
    "TAKEN",
    "Known",
    "causes_of",
    "clocks_of",
    "file_of",
    "is_changed",
    "is_missing",
    "is_of_objects",
    "is_taken",
    "trouble_of",
]


@dataclass(frozen=True)
class Known:
    """Errors that mean one thing, by one of three signs."""

    means: str
    """The end of a sentence; ``{keys}``, ``{where}`` and ``{code}`` are filled in."""

    type: type[Exception] | None = None
    """Raised for nothing else."""

    codes: tuple[str, ...] = ()
    """Of the object store's answer."""

    words: str = ""
    """A pattern of what the error says; its group, if it has one, is the code."""

    code: str = ""
    """The code of :attr:`type`, where the answer has none."""


REFUSED = "cannot be used: the credentials are refused ({code}); check {keys}"
DENIED = "cannot be used: access is denied ({code}); check {keys}, and what they allow"
NO_KEYS = "cannot be used: there are no credentials; set {keys}"
NO_BUCKET = "cannot be used: there is no such bucket; make it first, or name another"
OTHER_REGION = "cannot be used: the bucket lies in another region; set AWS_REGION to that"
LATER = "cannot be used now: the object store says {code}; try again later"

OBJECT_STORE = (
    # Where there are no credentials, clients ask the cloud machine that they might run on.
    Known(NO_KEYS, words=r"169\.254\.169\.254|metadata\.google"),
    Known(NO_KEYS, words=r"loading credentials|credential provider"),
    Known(NO_BUCKET, codes=("NoSuchBucket", "ContainerNotFound")),
    Known(
        REFUSED,
        codes=(
            "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
            "InvalidClientTokenId", "TokenRefreshRequired", "AuthenticationFailed",
            "InvalidAuthenticationInfo", "InvalidSecurity", "AuthFailure", "invalid_grant",
        ),
    ),
    Known("cannot be used: the clock of this machine is wrong; set it",
          codes=("RequestTimeTooSkewed",)),
    Known(
        OTHER_REGION,
        codes=("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"),
    ),
    Known(
        DENIED,
        codes=(
            "AccessDenied", "AuthorizationPermissionMismatch", "AuthorizationFailure",
            "AllAccessDisabled", "PublicAccessNotPermitted",
        ),
    ),
    Known("cannot be used: the object store has no conditional writes", codes=("NotImplemented",)),
    Known(LATER, codes=("SlowDown", "ServerBusy", "InternalError", "ServiceUnavailable")),
    Known(REFUSED, type=UnauthenticatedError, code="401 Unauthorized"),
    Known(DENIED, type=PermissionDeniedError, code="403 Forbidden"),
    Known(NO_BUCKET, words=r"[Bb]ucket does not exist"),
    Known(OTHER_REGION, words=r"incorrectly configured region"),
    Known("cannot be reached: {where} refuses connections", words=r"Connection refused"),
    Known("cannot be reached: the host of {where} is not known", words=r"dns error"),
    Known("cannot be reached: {where} gives no answer", words=r"TimedOut|timeout error"),
    Known(
        "cannot be reached: the connection to {where} fails",
        words=r"kind: Connect|dispatch failure|error sending request",
    ),
    Known(LATER, words=r"status code: (429 Too Many|50[0234] [A-Z]\w+)"),
)  # fmt: skip
"""What is wrong with an object store, or the way to it, in the order of what to look for."""

CHANGED = (
    "early eof",
    "incomplete frame",
    "Data corruption detected",
    "invalid magic numbers",
    "cannot serialize ref json",
    "bytes long",
)
"""What Icechunk says of a file that is not as it wrote it."""

TAKEN = "tag already exists"
"""What Icechunk says of the name of a tag that there is, or was: none is ever given again."""

CLOCKS = {
    r"timestamp ordering\. parent: `([^`]+)`, child: `([^`]+)": (
        "its last state was committed at {0}, ahead of this machine's clock, {1}. Set the clock; "
        "if that one was ahead, run the same command after that time"
    ),
    r"local clock: `([^`]+)`, object store clock: `([^`]+)": (
        "this machine's clock says {0}, that of where the store lies {1}. Set the one that is wrong"
    ),
}
"""What Icechunk says of a commit by a clock that is wrong, or was, and what that means."""

_CODE = r'<Code>(\w+)</Code>|code: "(\w+)"|\(([A-Z]\w+)\)$|"error": ?"(\w+)"'
"""Where clients show the code of an object store's answer."""

_NAMES = (
    r"uri: Some\([^)]*\)|path: \"[^\"]*\"|location \S+|key=\"[^\"]*\"|retry_timeout: \w+"
    r"|https?://(?!169\.254\.|metadata\.)\S+"
)
"""What is called by a user's names in errors, and settings: neither says what is wrong."""


def trouble_of(
    error: BaseException,
    keys: str = "those of the object store",
    where: str = "its object store",
) -> str | None:
    """What is wrong with an object store, as the end of a sentence.

    Args:
        error: Of obstore or Icechunk.
        keys: Variables of the environment to check.
        where: What is asked.

    Returns:
        None where the error is of something else.
    """
    text = re.sub(_NAMES, "", str(error))
    codes = {code for groups in re.findall(_CODE, text, re.MULTILINE) for code in groups if code}
    for known in OBJECT_STORE:
        match = re.search(known.words, text) if known.words else None
        answered = sorted(codes.intersection(known.codes))
        if match is not None:
            code = match[match.lastindex or 0]
        elif answered:
            code = answered[0]
        elif known.type is not None and isinstance(error, known.type):
            code = known.code
        else:
            continue
        return known.means.format(keys=keys, where=where, code=code)
    return None


def is_of_objects(error: BaseException) -> bool:
    """Whether a request to an object store did not succeed."""
    words = r"dispatch failure|service error|timeout error|Error performing [A-Z]+ http"
    return isinstance(error, BaseError) or re.search(words, str(error)) is not None


def is_changed(error: icechunk.IcechunkError) -> bool:
    """Whether a file of Icechunk's was cut short or changed."""
    text = re.sub(_NAMES, "", "\n".join(causes_of(error)))
    return any(words in text for words in CHANGED)


def is_missing(error: icechunk.IcechunkError) -> bool:
    """Whether a file of Icechunk's is gone."""
    reason = causes_of(error)[-1]
    return f"os error {errno.ENOENT}" in reason or reason.startswith("snapshot not found")


def file_of(error: icechunk.IcechunkError) -> str:
    """The file of the repository that an error is about, as a path in it; empty where none is."""
    text = str(error)
    key = re.search(r'key="((?:chunks|manifests|snapshots|refs|transactions)/[^"]+)"', text)
    if key is not None:
        return key[1]
    match = re.search(r"\b(chunk|manifest|snapshot)(?:_id=| not found: `)(\w+)", text)
    return f"{match[1]}s/{match[2]}" if match else ""


def clocks_of(error: icechunk.IcechunkError) -> str | None:
    """Which clocks disagree where a commit is refused for that, as the end of a sentence; else
    None."""
    text = " ".join(causes_of(error))
    for words, means in CLOCKS.items():
        if match := re.search(words, text):
            return means.format(*(re.sub(r"\.\d+", "", time) for time in match.groups()))
    return None


def is_taken(error: icechunk.IcechunkError) -> bool:
    """Whether the name of a tag cannot be given any more."""
    return any(TAKEN in cause for cause in causes_of(error))


def causes_of(error: icechunk.IcechunkError) -> list[str]:
    """The causes that Icechunk lists below its tree of contexts, the innermost last; else its first
    line."""
    text = str(error).strip()
    causes: list[str] = re.findall(r"^\s*[|`]-> (.+)$", text, re.MULTILINE)
    return causes or [text.splitlines()[0].removeprefix("x ") if text else "no reason given"]
