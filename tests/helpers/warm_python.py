"""Python programs in processes of their own that do not wait for the imports of torch.

``start(["-m", "deconvnet_cli", ...])`` does what ``subprocess.Popen`` does with ``sys.executable``
in front. The process is forked from the fork server of the tests, which has imported torch once;
and its own fork server is forked from it, if it begins one before any thread. Where workers are not
forked, as on macOS, both begin as any process does.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import reduction, util
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from deconvnet_cli.runtime.worker_process import CONTEXT, SIGNALS, prepare_workers


class Descriptor:
    """An open file that a process gets under a number of its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return taken, (reduction.DupFd(self.number),)


def taken(sent: Any) -> int:
    """Return the number that a file has in this process."""
    number: int = sent.detach()
    return number


class WarmProcess:
    """A process that was started, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.pid: int = process.pid
        # Python waits for its processes when it ends, and a test may have failed before this did.
        util.Finalize(self, kill, (process,), exitpriority=1)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        code: int | None = self.process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("python", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def kill(process: Any) -> None:
    """Kill a process and those that it has begun, if it still runs."""
    if process.is_alive():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def start(
    arguments: Sequence[object],
    *,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = subprocess.DEVNULL,
    stderr: int | IO[Any],
    cwd: Path | None = None,
    env: Mapping[str, str] = os.environ,
) -> WarmProcess:
    """Start ``python -m MODULE ...`` or ``python -c CODE ...`` in a session of its own."""
    with ExitStack() as stack:
        streams = []
        for stream in (stdin, stdout, stderr):
            if stream == subprocess.DEVNULL:
                stream = stack.enter_context(open(os.devnull, "r+b"))
            number = stream if isinstance(stream, int) else stream.fileno()
            streams.append(Descriptor(number))
        prepare_workers("deconvnet_cli.batch.preload")
        words = [os.fsdecode(word) if isinstance(word, bytes) else str(word) for word in arguments]
        process = CONTEXT.Process(target=answer, args=(words, streams, cwd, dict(env)))
        process.start()
    return WarmProcess(process)


def run(
    arguments: Sequence[object], timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run such a program to its end; return its exit code and the bytes that it wrote."""
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        process = start(arguments, **{"stdout": stdout, "stderr": stderr, **options})
        try:
            code = process.wait(timeout)
        finally:
            kill(process.process)
        said = []
        for file in (stdout, stderr):
            file.seek(0)
            said.append(file.read())
    return subprocess.CompletedProcess(list(arguments), code, *said)


def answer(words: list[str], streams: list[int], cwd: Path | None, env: dict[str, str]) -> None:
    """Become the program; this runs in its process, which ends here."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd or os.getcwd())
    os.environ.clear()
    os.environ.update(env)
    open_streams(env.get("PYTHONIOENCODING", ""))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    fork_its_server()
    end(exit_code_of(words))


def open_streams(wanted: str) -> None:
    """Open the standard streams of Python on the files that they have now."""
    encoding, _, errors = wanted.partition(":")
    modes = (
        ("stdin", "r", "strict"),
        ("stdout", "w", "strict"),
        ("stderr", "w", "backslashreplace"),
    )
    for number, (name, mode, lenient) in enumerate(modes):
        how = {"encoding": encoding or "utf-8", "errors": errors or lenient, "closefd": False}
        file = open(number, mode, **how)  # noqa: SIM115
        setattr(sys, name, file)
        setattr(sys, f"__{name}__", file)
    sys.stderr.reconfigure(line_buffering=True)


def exit_code_of(words: list[str]) -> int:
    """Run the program; return the exit code that Python would have."""
    option, program, *rest = words
    sys.argv = [option, *rest]
    try:
        if option == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(code: int) -> None:
    """End this process as Python does, but do not free its objects: that takes half a second."""
    import atexit
    import threading

    threading._shutdown()
    atexit._run_exitfuncs()
    util._exit_function()  # workers are joined
    failed = False
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            failed = True
    os._exit(120 if failed else code)


def fork_its_server() -> None:
    """Have the fork server of this process forked from it, if it begins one before any thread."""
    begin = util.spawnv_passfds

    def fork(path: Any, arguments: Sequence[str], passed: Sequence[int]) -> int:
        alone = len(list(Path("/proc/self/task").iterdir())) == 1  # no thread has locks or work
        if "multiprocessing.forkserver" not in arguments[-1] or not alone:
            return begin(path, arguments, passed)
        if pid := os.fork():
            return pid
        try:
            kept = sorted({0, 1, 2, *passed})
            for low, high in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
                os.closerange(low + 1, high)
            exec(arguments[-1], {})
        finally:
            os._exit(0)

    util.spawnv_passfds = fork
