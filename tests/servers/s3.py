"""A local S3 server: moto in server mode, a process of its own, which checks keys if it is to.

``python -m moto.server`` keeps its objects in memory; they go with it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

from tests.waiting import WITHIN_S

BUCKET = "lake"

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


@dataclass(frozen=True)
class S3Server:
    """A server that runs, with one bucket."""

    url: str
    """Its endpoint."""

    key: str
    """Id of a key that may do everything."""

    secret: str
    """What goes with it."""

    def environment(self, **other: str) -> dict[str, str]:
        """Variables by which programs find it, with what is to be ``other``; ``""`` unsets one."""
        return {
            **dict.fromkeys(UNSET, ""),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            **other,
        }

    def client(self) -> Any:
        """A client that has nothing in common with what is tested."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1",
            aws_access_key_id=self.key, aws_secret_access_key=self.secret,
        )  # fmt: skip

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object of the bucket by key."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def check_keys(self, check: bool) -> None:
        """Refuse whoever has no key of this server, or take any."""
        count = "0" if check else "inf"
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", count.encode(), {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request, timeout=WITHIN_S).close()


UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")


@contextmanager
def serving_s3() -> Iterator[S3Server]:
    """Run a server for the time of a ``with`` block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        printed = ""
        while (address := re.search(r"http://127\.0\.0\.1:\d+", printed)) is None:
            line = process.stderr.readline()
            assert line, f"the S3 server did not start: {printed}"
            printed += line
        url = address[0]
        # It prints a line for each request, and would stop when nobody reads them.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        anybody = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
        iam = boto3.client("iam", endpoint_url=url, region_name="us-east-1", **anybody)
        iam.create_user(UserName="builder")
        policy = json.dumps(POLICY)
        iam.put_user_policy(UserName="builder", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="builder")["AccessKey"]
        server = S3Server(url, key["AccessKeyId"], key["SecretAccessKey"])
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        process.terminate()
        process.wait()
