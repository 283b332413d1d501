"""What the process that workers are forked from imports, so that each of them need not.

An OpenCV that cannot be loaded is no reason for a traceback there: the main process imports the
same, and says so in one line.
"""

import contextlib

from deconvnet_cli.errors import DependencyError

with contextlib.suppress(DependencyError):
    import deconvnet_cli.batch.photo  # noqa: F401
