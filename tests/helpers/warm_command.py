"""The command ``deconvnet`` without its seconds of imports: a server that forks for each call.

    python -m helpers.warm_command SOCKET     # the server; ends when its standard input does
    python -I warm_command.py SOCKET call ... # the command itself

The command runs in a process of its own, with the folder, the environment, PYTHONPATH and the
standard streams of its caller, like ``python -m deconvnet_cli``. The workers of all batches are
forked from one fork server, which has the environment and the streams of this server.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
    import gc
    import selectors

    import torch

    from deconvnet_cli import cli
    from deconvnet_cli.runtime.worker_process import prepare_workers
    from helpers.warm_python import fork_its_server

    import_commands()
    torch.set_num_threads(1)  # threads do not survive a fork
    gc.collect()
    gc.freeze()  # else each child copies all objects as soon as it collects garbage
    fork_its_server()
    prepare_workers("deconvnet_cli.batch.preload")
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


def import_commands() -> None:
    """Import what the commands import when they are called, but no weights and no console.

    These two depend on the environment of a call.
    """
    import cv2  # noqa: F401
    import rich.progress  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch._dynamo  # noqa: F401  # a process's first optimiser or unpooling imports it
    from PIL import Image

    from deconvnet_cli.batch import photo, run  # noqa: F401
    from deconvnet_cli.commands import batch, crf, evaluate, explain, segment, train  # noqa: F401
    from deconvnet_cli.evaluation import scoreboard  # noqa: F401
    from deconvnet_cli.segmentation import loading  # noqa: F401
    from deconvnet_cli.training import loop  # noqa: F401

    Image.init()


def answer(connection: socket.socket, main: Callable[[], None]) -> None:
    """Run one call in this process, which ends with it, and send its exit code."""
    request, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    call = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    folders = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:0] = folders
    sys.argv = ["deconvnet", *call["arguments"]]
    share_fork_server()
    code: object = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    end_quickly(connection, code if isinstance(code, int) else int(bool(code)))


def share_fork_server() -> None:
    """Have workers forked from the fork server of the parent, which is not a child of this one."""
    from multiprocessing import forkserver

    forkserver._forkserver.ensure_running = forkserver.ensure_running = lambda: None


def end_quickly(connection: socket.socket, code: int) -> None:
    """End this process as Python does, but do not free its objects: that takes half a second."""
    import atexit
    import threading

    threading._shutdown()
    atexit._run_exitfuncs()  # workers are joined
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    connection.sendall(str(code).encode())
    os._exit(code)


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
