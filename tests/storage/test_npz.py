"""Arrays read from NumPy files by many threads at once."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from deconvnet_cli.storage import npz


def test_one_header_is_parsed_at_a_time(monkeypatch):
    """Python before 3.11.8 fails now and then when two threads parse Python at once."""
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    file = io.BytesIO()
    np.save(file, array)
    read = npz.HEADERS[1, 0]
    inside: list[int] = []
    most: list[int] = []

    def slow(stream):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)
        header = read(stream)
        inside.pop()
        return header

    monkeypatch.setitem(npz.HEADERS, (1, 0), slow)
    with ThreadPoolExecutor(4) as threads:
        arrays = list(threads.map(npz.array_of, [file.getvalue()] * 12))
    assert max(most) == 1
    assert all(np.array_equal(array, read) for read in arrays)
