"""What ends a run before its workers start."""

import os
import signal

import pytest
from helpers.small_batch import small_photos

from deconvnet_cli.commands import batch
from deconvnet_cli.runtime.interrupts import sigterm_as_interrupt, stop_signals


def test_sigterm_is_as_ctrl_c_and_a_run_that_stops_softly_stays_so():
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_interrupt():
        with stop_signals() as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_batch_that_is_terminated_while_it_loads_its_nets(deconvnet, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(batch, "load_system", lambda options: os.kill(os.getpid(), signal.SIGTERM))
    small_photos(tmp_path / "photos", 1)
    result = deconvnet("batch", tmp_path / "photos", "-o", tmp_path / "out")
    assert result.exit_code == 1 and "Aborted" in result.stderr
    assert signal.getsignal(signal.SIGTERM) is before
