"""Files made readable just before they are read: tokens are fresh, keys go to their own host."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.sources import Bucket, Source
from terralatent.catalogs.sources.tokens import drop_token, with_token

__all__ = ["KeysError", "Readable", "forget_token", "missing_keys", "readable", "require_keys"]

_AMAZON = "amazonaws.com"


class KeysError(ValueError):
    """The variables of the environment that a bucket needs are not set."""


@dataclass(frozen=True)
class Readable:
    """How a file is opened now. Not to be kept, stored or shown: it may hold secrets."""

    href: str
    """Where it is."""

    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """GDAL's settings for this file alone."""

    signed: bool = False
    """Whether :attr:`href` holds a token."""


def readable(href: str, source: Source) -> Readable:
    """Make a file of ``source`` readable; to be called by whoever reads it, just before.

    May request a token of the source, which is kept until it is about to expire.

    Args:
        href: As the item states it; also the name of the file in messages.
        source: Where the item comes from.

    Raises:
        OSError: If a token was refused or did not come.
        KeysError: If the keys of its bucket are not set in this process's environment.
    """
    bucket = source.bucket(href)
    if bucket is not None:
        return Readable(href, _options(bucket))
    if source.signing == "planetary-computer":
        signed = with_token(href)
        return Readable(signed, signed=signed != href)
    return Readable(href)


def forget_token(refused: Readable) -> bool:
    """Drop the token with which a file was refused, so that the next reader gets a new one.

    A token may end before its stated time, where clocks differ or its issuer takes it back.

    Returns:
        Whether there was one. It is dropped once, however many files it was refused for.
    """
    if not refused.signed:
        return False
    drop_token(refused.href)
    return True


def require_keys(source: Source, hrefs: Iterable[str]) -> None:
    """Check that the keys are there which the files ``hrefs`` need.

    Raises:
        InputError: If some are not; it names the variables to set.
    """
    for bucket in {bucket for href in hrefs if (bucket := source.bucket(href)) is not None}:
        missing = missing_keys(bucket)
        if missing:
            raise InputError(
                f"The source {source.name} needs keys for s3://{bucket.name}: {missing} "
                f"({source.needs or 'an account'}). Or request other sensors only (sensors=)."
            )


def missing_keys(bucket: Bucket, environment: Mapping[str, str] = os.environ) -> str:
    """Say which variables are to be set for a bucket; empty: none."""
    if not bucket.keys or any(_keys(prefix, bucket, environment) for prefix in bucket.keys):
        return ""
    sets = [f"{prefix}_ACCESS_KEY_ID and {prefix}_SECRET_ACCESS_KEY" for prefix in bucket.keys]
    if "AWS" in bucket.keys and not _host(bucket).endswith(_AMAZON):
        sets[bucket.keys.index("AWS")] += f" with AWS_S3_ENDPOINT={_host(bucket)}"
    return f"set {', or '.join(sets)}"


def _options(bucket: Bucket) -> dict[str, str]:
    """GDAL's settings for a bucket; all of them, so that those of another one do not leak in."""
    endpoint = urlsplit(bucket.endpoint)
    options = {
        "AWS_S3_ENDPOINT": endpoint.netloc,
        "AWS_HTTPS": "YES" if endpoint.scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "NO" if bucket.path_style else "YES",
        "AWS_REGION": bucket.region or "us-east-1",
        "AWS_REQUEST_PAYER": "requester" if bucket.requester_pays else "",
        "AWS_NO_SIGN_REQUEST": "NO" if bucket.keys else "YES",
    }
    if not bucket.keys:
        return options
    for prefix in bucket.keys:
        keys = _keys(prefix, bucket, os.environ)
        if keys is not None:
            return {**options, **keys}
    raise KeysError(f"no keys for s3://{bucket.name} on this machine: {missing_keys(bucket)}")


def _keys(prefix: str, bucket: Bucket, environment: Mapping[str, str]) -> dict[str, str] | None:
    """The keys whose names begin with ``prefix``; None where they are not set, or not for it.

    ``AWS_...`` are for the endpoint that ``AWS_S3_ENDPOINT`` names, which is Amazon's by default.
    """
    if prefix == "AWS":
        meant = environment.get("AWS_S3_ENDPOINT", "").rpartition("://")[2].strip("/")
        host = _host(bucket)
        if not (host == meant if meant else host.endswith(_AMAZON)):
            return None
    names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
    keys = {f"AWS_{name}": environment.get(f"{prefix}_{name}", "") for name in names}
    return keys if keys["AWS_ACCESS_KEY_ID"] and keys["AWS_SECRET_ACCESS_KEY"] else None


def _host(bucket: Bucket) -> str:
    return urlsplit(bucket.endpoint).netloc
