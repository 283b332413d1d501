"""Import the heavy modules once, in the process that workers are forked from.

If OpenCV cannot be loaded, this must not print a traceback: the main process imports the same
modules and reports the error in one line.
"""

import contextlib

from deconvnet_cli.errors import DependencyError

with contextlib.suppress(DependencyError):
    import deconvnet_cli.batch.photo  # noqa: F401
