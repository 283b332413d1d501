"""The command ``deconvnet`` without its seconds of imports: a server that forks for each call.

    python -m helpers.warm_command SOCKET     # the server; ends when its standard input does
    python -I warm_command.py SOCKET call ... # the command itself

The command runs in a process of its own, with the folder, the environment and the standard streams
of its caller, like ``python -m deconvnet_cli``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 120.0  # seconds for the imports on a busy machine


@contextmanager
def warm_command(program: Path, environment: dict[str, str]) -> Iterator[None]:
    """Write the command to ``program`` and serve it with the imports of this environment."""
    address = program.with_name("socket")
    command = [sys.executable, "-m", "helpers.warm_command", address]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as server:
        deadline = time.monotonic() + PATIENCE
        while not address.exists():
            assert server.poll() is None and time.monotonic() < deadline, "the server did not begin"
            time.sleep(0.02)
        program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -I "{__file__}" "{address}" call "$@"\n'
        )
        program.chmod(0o755)
        yield


def serve(address: str) -> None:
    """Fork for each connection until the caller of the server has gone."""
    import selectors

    import cv2  # noqa: F401
    import torch

    from deconvnet_cli import cli
    from deconvnet_cli.commands import batch, crf, evaluate, explain, segment, train  # noqa: F401

    torch.set_num_threads(1)  # threads do not survive a fork
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as ready:
        listener.bind(address + ".new")
        listener.listen()
        os.rename(address + ".new", address)
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while not any(key.fileobj is sys.stdin for key, _ in ready.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(connection, cli.main)
            connection.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def answer(connection: socket.socket, main: object) -> None:
    """Run one call in this process, which ends with it, and send its exit code."""
    request, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    call = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = ["deconvnet", *call["arguments"]]
    code: object = 1
    try:
        assert callable(main)
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(code if isinstance(code, int) else int(bool(code))).encode())
    sys.exit()  # what is registered for the end runs, workers are joined


def call(address: str, arguments: list[str]) -> int:
    """Have the server run a command; return its exit code."""
    request = {"folder": os.getcwd(), "environment": dict(os.environ), "arguments": arguments}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        return int(connection.recv(16) or 1)


if __name__ == "__main__":
    if sys.argv[2:3] == ["call"]:
        sys.exit(call(sys.argv[1], sys.argv[3:]))
    serve(sys.argv[1])
