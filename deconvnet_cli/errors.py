"""Every error that this package raises on purpose.

    DeconvnetError                 exit 1
    ├── UsageError                 exit 2   options that do not fit together
    ├── ImageError                 exit 1   a photo or label PNG that cannot be read
    ├── OutputError                exit 1   a file that cannot be written
    │   └── DiskFullError          exit 1   there is no room for it, nor for the next one
    ├── BusyError                  exit 1   another run is writing to the same folder
    ├── CrashError                 exit 1   a worker process that died
    ├── DatasetError               exit 1   a VOC tree with something missing or wrong
    ├── WeightsError               exit 1   a weights file that cannot be used
    │   └── ChecksumError          exit 1   its SHA-256 is not the expected one
    ├── DependencyError            exit 1   an optional or wrongly installed package
    └── DeviceError                exit 1   a device that this machine does not have

A message is one line: what is wrong, with which file, and what to do about it.
Only ``cli.py`` turns these into text and exit codes.
"""


class DeconvnetError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class UsageError(DeconvnetError):
    """Options or arguments that do not fit together."""

    exit_code = 2


class ImageError(DeconvnetError):
    """A photo or label PNG that cannot be read."""


class OutputError(DeconvnetError):
    """A file or folder that cannot be written."""


class DiskFullError(OutputError):
    """No room is left, so that no further file can be written either."""


class BusyError(DeconvnetError):
    """Another run is writing to the same output folder."""


class CrashError(DeconvnetError):
    """A worker process that died: killed, out of memory, or crashed."""


class DatasetError(DeconvnetError):
    """A VOC tree with a missing or malformed file."""


class WeightsError(DeconvnetError):
    """A weights file that is missing, damaged or of another net."""


class ChecksumError(WeightsError):
    """A weights file whose SHA-256 is not the one it was published with."""


class DependencyError(DeconvnetError):
    """A package that is missing, or shadowed by another one."""


class DeviceError(DeconvnetError):
    """A device or precision that this machine does not offer."""
