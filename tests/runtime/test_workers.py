"""Worker processes that die: what they had is tried again, the others go on, nothing is left."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from helpers.paths import ROOT

from deconvnet_cli.errors import CrashError, DeconvnetError, ImageError, WeightsError
from deconvnet_cli.runtime.worker_process import METHOD, how_it_ended
from deconvnet_cli.runtime.workers import side_by_side

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")


def begin(folder):
    """Work on words: "die" kills its process, "once" does when it is tried for the first time."""

    def work(word):
        with open(folder / "log", "a") as log:
            log.write(f"{word}\n")
        if word == "die" or (word == "once" and tried(folder).count("once") == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "memory":
            raise MemoryError
        if word == "wrong":
            raise ImageError("no photo")
        if word.startswith("slow"):
            time.sleep(0.6)
        return word.upper(), os.getpid()

    return work


def tried(folder):
    """The words that were tried, in that order."""
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def begin_wrongly():
    raise WeightsError("no weights")


def begin_and_die():
    os.kill(os.getpid(), signal.SIGKILL)


def begin_and_sleep():
    return time.sleep


def begin_at_the_second_try(folder):
    if not (folder / "mark").exists():
        (folder / "mark").touch()
        os._exit(3)
    return begin(folder)


def results(answers):
    """Words with what came of them: the result without its process, or the error."""
    return {
        word: answer if isinstance(answer, DeconvnetError) else answer[0]
        for word, answer in answers
    }


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pids):
    """Whether all processes have ended, within a few seconds."""
    deadline = time.monotonic() + 20
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(running, pids))


@pytest.mark.parametrize("workers", [1, 3])
def test_all_items_with_their_results_and_no_process_left(tmp_path, workers):
    words = [f"w{number}" for number in range(12)]
    answers = list(side_by_side(words, partial(begin, tmp_path), workers))
    assert results(answers) == {word: word.upper() for word in words}
    pids = {pid for _, (_, pid) in answers}
    assert 1 <= len(pids) <= workers
    assert gone(pids)


def test_an_error_is_that_of_its_item(tmp_path):
    answers = results(side_by_side(["a", "wrong", "b"], partial(begin, tmp_path), 2))
    assert isinstance(answers.pop("wrong"), ImageError)
    assert answers == {"a": "A", "b": "B"}
    assert tried(tmp_path).count("wrong") == 1


@needs_signals
def test_an_item_that_kills_its_worker_is_tried_twice(tmp_path):
    words = ["a", "die", "b", "c", "d"]
    answers = results(side_by_side(words, partial(begin, tmp_path), 2))
    error = answers.pop("die")
    assert isinstance(error, CrashError)
    assert "SIGKILL" in str(error) and "twice" in str(error) and "\n" not in str(error)
    assert answers == {word: word.upper() for word in "abcd"}
    assert sorted(tried(tmp_path)) == ["a", "b", "c", "d", "die", "die"]


@needs_signals
def test_an_item_whose_worker_dies_once_is_done(tmp_path):
    answers = results(side_by_side(["a", "once", "b"], partial(begin, tmp_path), 2))
    assert answers == {"a": "A", "once": "ONCE", "b": "B"}


def test_out_of_memory_is_as_if_the_worker_had_died(tmp_path):
    answers = list(side_by_side(["a", "memory", "b"], partial(begin, tmp_path), 1))
    error = results(answers)["memory"]
    assert isinstance(error, CrashError) and "ran out of memory, twice" in str(error)
    pids = [answer[1] for word, answer in answers if word != "memory"]
    assert len(set(pids)) == 2  # a process that had no memory is not used again


@needs_signals
def test_many_deaths_do_not_end_the_run(tmp_path):
    words = ["die"] * 4 + ["a"]
    answers = list(side_by_side(words, partial(begin, tmp_path), 2))
    assert [word for word, _ in answers].count("die") == 4
    assert ("a", "A") in results(answers).items()


def test_an_error_of_begin_is_raised():
    with pytest.raises(WeightsError, match="no weights"):
        list(side_by_side(["a"], begin_wrongly, 2))


@needs_signals
def test_workers_that_die_as_they_start(tmp_path):
    with pytest.raises(CrashError, match="die as they start: the last one was killed by SIGKILL"):
        list(side_by_side(["a", "b"], begin_and_die, 2))


def test_a_worker_that_dies_at_its_start_costs_no_try(tmp_path):
    begin_late = partial(begin_at_the_second_try, tmp_path)
    assert results(side_by_side(["a"], begin_late, 1)) == {"a": "A"}


@needs_signals
def test_false_starts_count_in_a_row_only(tmp_path, monkeypatch):
    """A run of days may see a worker killed as it starts now and then."""
    monkeypatch.setattr("deconvnet_cli.runtime.workers.FALSE_STARTS", 2)
    done = {}
    for word, answer in side_by_side(["once", "a"], partial(begin_at_the_second_try, tmp_path), 1):
        done[word] = answer[0]
        (tmp_path / "mark").unlink()
        os.kill(answer[1], signal.SIGKILL)  # the next one makes a false start again
        assert gone([answer[1]])
    assert done == {"once": "ONCE", "a": "A"}


@needs_signals
def test_an_idle_worker_that_dies_is_replaced(tmp_path):
    answers = side_by_side(["a", "b", "c"], partial(begin, tmp_path), 1)
    pids = []
    for _, (_, pid) in answers:
        pids.append(pid)
        os.kill(pid, signal.SIGKILL)
        assert gone([pid])
    assert len(set(pids)) == 3
    assert sorted(tried(tmp_path)) == ["a", "b", "c"]


def test_stop_lets_what_was_begun_come_out(tmp_path):
    """Two items are being worked on when the run is stopped: both are done, and no third."""
    words = [f"slow{number}" for number in range(6)]
    stopped = []
    done = []
    for word, _ in side_by_side(words, partial(begin, tmp_path), 2, lambda: bool(stopped)):
        stopped.append(True)
        done.append(word)
    assert sorted(done) == sorted(tried(tmp_path)) == ["slow0", "slow1"]


def test_nothing_for_now(tmp_path):
    """None gives time back to whoever looks for more; items are not taken ahead of need."""
    taken = []

    def items():
        for item in ("a", None, None, "b"):
            taken.append(item)
            yield item

    answers = side_by_side(items(), partial(begin, tmp_path), 1)
    assert next(answers)[0] == "a"
    assert taken == ["a"]
    assert [word for word, _ in answers] == ["b"]


def test_no_items():
    assert list(side_by_side([], begin_and_die, 2)) == []


@needs_signals
def test_a_run_that_is_left_halfway_ends_its_workers(tmp_path):
    answers = side_by_side(["a", "slow1", "b"], partial(begin, tmp_path), 2)
    _, (_, pid) = next(answers)
    answers.close()
    assert gone([pid])


@needs_signals
def test_a_process_does_not_wait_for_busy_workers_at_its_end(tmp_path):
    """Even if nobody closes what ``side_by_side`` gives, as after a third Ctrl-C."""
    program = (
        "from runtime.test_workers import begin_and_sleep\n"
        "from deconvnet_cli.runtime.workers import side_by_side\n"
        "if __name__ == '__main__':\n"
        "    kept = side_by_side([0.01, 600, 600], begin_and_sleep, 2)\n"
        "    next(kept)\n"
        "    raise SystemExit(5)\n"
    )
    (tmp_path / "program.py").write_text(program)
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (5, b"")


@pytest.mark.parametrize("code, words", [
    (3, "ended with exit code 3"),
    (-11, "was killed by SIGSEGV"),
    (-9, "was killed by SIGKILL (too little memory?)"),
    (-37, "was killed by signal 37"),
])  # fmt: skip
@needs_signals
def test_how_a_process_ended(code, words):
    assert how_it_ended(code) == words


@needs_signals
def test_a_busy_worker_of_a_pool_ends_with_its_killed_parent():
    program = (
        "import multiprocessing, time\n"
        "from deconvnet_cli.runtime.worker_process import end_with_parent\n"
        "pool = multiprocessing.get_context('spawn').Pool(1, end_with_parent)\n"
        "print(pool.apply(len, ('abc',)), flush=True)\n"
        "pool.apply(time.sleep, (60,))\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout.readline()
        time.sleep(0.3)  # until it sleeps
        parent.kill()
        began = time.monotonic()
        parent.stdout.read()  # the worker has this pipe too, until it ends
    assert time.monotonic() - began < 20


@pytest.mark.skipif(METHOD != "forkserver", reason="no server with a socket there")
def test_a_long_path_of_temporary_files_is_named(tmp_path):
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    code = (
        "from deconvnet_cli.runtime.worker_process import prepare_workers; prepare_workers('json')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert "set TMPDIR to a folder with a shorter path" in result.stderr
