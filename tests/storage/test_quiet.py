"""Warnings ignored in several threads: the filters of the process come back."""

from __future__ import annotations

import io
import os
import threading
import warnings

import numpy as np
import pytest

from deconvnet_cli.data.decoding import decoding
from deconvnet_cli.storage import npz
from deconvnet_cli.storage.quiet import warnings_ignored

PATIENCE = 30  # seconds; nothing here takes more than a few milliseconds


@pytest.mark.parametrize("context", [decoding, warnings_ignored])
def test_the_first_to_leave_does_not_switch_warnings_off(context):
    """The main thread enters, another one enters, and the main one leaves before it."""
    entered, may_leave = threading.Event(), threading.Event()

    def other() -> None:
        with context():
            entered.set()
            assert may_leave.wait(PATIENCE)

    thread = threading.Thread(target=other)
    before, inside = list(warnings.filters), []
    with context():
        thread.start()
        assert entered.wait(PATIENCE)
        inside.append(warnings.filters[0][0])
    inside.append(warnings.filters[0][0])
    may_leave.set()
    thread.join(PATIENCE)
    assert inside == ["ignore", "ignore"]
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="seen"):
        warnings.warn("seen", UserWarning, stacklevel=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_inside_has_its_filters_back():
    before = list(warnings.filters)
    child = None
    with warnings_ignored():
        child = os.fork()
        same = warnings.filters == before
    if not child:
        with warnings_ignored():
            ignored = warnings.filters[0][0] == "ignore"
        os._exit(0 if same and ignored and warnings.filters == before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_works_within_itself_and_after_errors():
    before = list(warnings.filters)
    file = io.BytesIO()
    np.save(file, np.arange(3))
    with pytest.raises(ZeroDivisionError), warnings_ignored():
        assert npz.array_of(file.getvalue()).tolist() == [0, 1, 2]
        warnings.warn("not seen", UserWarning, stacklevel=1)
        raise ZeroDivisionError
    assert warnings.filters == before
