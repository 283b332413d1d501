"""The Ray cluster that a batch runs on: one that is there, or one of this machine alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

from deconvnet_cli.errors import DeconvnetError, DependencyError, DeviceError, UsageError

PACKAGES = ("ray.data", "fsspec", "s3fs")


@dataclass(frozen=True)
class Cluster:
    """What a cluster has.

    Attributes:
        cpus: that tasks and actors may take, each one.
        gpus: that nets are run on; 0 runs them on CPUs.
        per_gpu: actors that share a GPU.
    """

    cpus: int
    gpus: int
    per_gpu: int = 1

    @property
    def actors(self) -> int:
        """Most actors that run nets; each takes a CPU, and one is left for the other stages."""
        return min(self.cpus - 1, self.gpus * self.per_gpu or self.cpus)

    @property
    def share(self) -> float:
        """Of a GPU that an actor takes."""
        return 1 / self.per_gpu if self.gpus else 0


def require_packages() -> None:
    """See that the packages of the extra are there.

    Raises:
        DependencyError: one of them is missing, or cannot be loaded.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told that a batch was run
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise DependencyError(
                f"--engine ray needs the optional package {name}: pip install 'deconvnet[ray]'"
            ) from error
    # What is lost with a worker is said by the batch; tracebacks are in the files of Ray's logs.
    for handler in logging.getLogger("ray.data").handlers:
        of_ray = type(handler).__module__.startswith("ray.")  # somebody else may listen as well
        if of_ray and isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL + 1)


@contextmanager
def connected(address: str | None, device: str, per_gpu: int = 1) -> Iterator[Cluster]:
    """A cluster, until the end.

    Args:
        address: of its head, HOST:PORT; that of RAY_ADDRESS, or a new cluster of this machine,
            unless given.
        device: as ``--device`` has it.
        per_gpu: actors that share a GPU.

    Raises:
        DependencyError: the extra is missing.
        DeconvnetError: no such cluster, or another Ray or Python is on it.
        UsageError, DeviceError: it cannot do what is asked.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise UsageError(f"--ray-address {address}: give HOST:PORT of the head, as ray start says")
    require_packages()
    import ray

    begun = {"include_dashboard": False} if address == "local" else {}
    try:
        with silence():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **begun)
    except (ConnectionError, RuntimeError, ValueError) as error:
        what = " ".join(str(error).split())
        raise DeconvnetError(f"no Ray cluster at {address} ({what})") from error
    try:
        has = ray.cluster_resources()
        yield chosen(int(has.get("CPU", 0)), int(has.get("GPU", 0)), device, per_gpu)
    finally:
        ray.shutdown()


@contextmanager
def silence() -> Iterator[None]:
    """Nothing on standard error: Ray's core writes there itself, whatever its log level is."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def chosen(cpus: int, gpus: int, device: str, per_gpu: int = 1) -> Cluster:
    """What to use of a cluster with these.

    Raises:
        UsageError: a device that each worker cannot have.
        DeviceError: no GPU where one is asked for, or too few CPUs.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: --engine ray gives each net a GPU; auto, cpu or cuda")
    if device == "cuda" and not gpus:
        raise DeviceError("--device cuda: the Ray cluster has no GPU; use --device cpu")
    if cpus < 2:
        raise DeviceError(f"the Ray cluster has {cpus} CPU; it needs two, for the net and the rest")
    return Cluster(cpus, 0 if device == "cpu" else gpus, per_gpu)
