"""An S3 server of this machine, moto's, for tests of remote folders."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def s3_server() -> Iterator[str]:
    """Start the server on loopback with a bucket ``photos``, and say so to all S3 clients.

    Child processes are told as well: it is in the environment.
    """
    for name in ("moto.server", "s3fs", "boto3"):
        pytest.importorskip(name, reason=f"{name} is not here: pip install '.[test]'")
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    s3fs.S3FileSystem.clear_instance_cache()  # they know another server

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # Of an earlier server of this process: what was stored there.
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    values = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Credentials of whoever runs the tests are of no use here.
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="photos")
        try:
            yield "s3://photos"
        finally:
            server.stop()
