"""Connect to the Ray cluster that a batch runs on, or start one on this machine alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deconvnet_cli.errors import DeconvnetError, DeviceError, UsageError
from deconvnet_cli.runtime.packages import require_packages


@dataclass(frozen=True)
class Cluster:
    """The resources of a cluster that a batch uses.

    Attributes:
        cpus: The number of CPUs; each task or actor takes one.
        gpus: The number of GPUs that run nets; with 0, CPUs run them.
        per_gpu: The number of actors that share a GPU.
    """

    cpus: int
    gpus: int
    per_gpu: int = 1

    @property
    def actors(self) -> int:
        """Return the most actors that run nets; one CPU is left for the other stages."""
        return min(self.cpus - 1, self.gpus * self.per_gpu or self.cpus)

    @property
    def share(self) -> float:
        """Return the share of a GPU that an actor takes, 0 to 1."""
        return 1 / self.per_gpu if self.gpus else 0


def require_ray() -> None:
    """Load the packages of the extra, and let Ray say nothing of itself.

    Raises:
        DependencyError: A package is missing, or cannot be loaded.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a batch reports nothing to Ray
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    require_packages("--engine ray", "ray", "ray.data", "fsspec", "s3fs")
    # The batch itself reports lost photos; the tracebacks are in Ray's log files.
    for handler in logging.getLogger("ray.data").handlers:
        of_ray = type(handler).__module__.startswith("ray.")  # others may have added handlers
        if of_ray and isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL + 1)


@contextmanager
def connected(address: str | None, device: str, per_gpu: int = 1) -> Iterator[Cluster]:
    """Yield a cluster that this process is connected to.

    Args:
        address: HOST:PORT of its head; None for RAY_ADDRESS or, without that, a new cluster on
            this machine.
        device: The value of ``--device``.
        per_gpu: The number of actors that share a GPU.

    Raises:
        DependencyError: The extra is not installed.
        DeconvnetError: There is no such cluster, or it runs another version of Ray or Python.
        UsageError, DeviceError: The cluster does not have the device.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise UsageError(
            f"--ray-address {address}: give HOST:PORT of the head, as `ray start` prints it"
        )
    require_ray()
    import ray

    options = {"include_dashboard": False} if address == "local" else {}
    try:
        with silence():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        what = " ".join(str(error).split())
        raise DeconvnetError(f"no Ray cluster at {address} ({what})") from error
    try:
        found = ray.cluster_resources()
        yield choose_resources(int(found.get("CPU", 0)), int(found.get("GPU", 0)), device, per_gpu)
    finally:
        ray.shutdown()


@contextmanager
def silence() -> Iterator[None]:
    """Discard standard error, where Ray's core writes whatever its log level is."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def choose_resources(cpus: int, gpus: int, device: str, per_gpu: int = 1) -> Cluster:
    """Return the resources to use of a cluster with these CPUs and GPUs.

    Raises:
        UsageError: Not every worker can have this device.
        DeviceError: The device is cuda and the cluster has no GPU, or it has too few CPUs.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: --engine ray takes auto, cpu or cuda")
    if device == "cuda" and not gpus:
        raise DeviceError("--device cuda: the Ray cluster has no GPU; use --device cpu")
    if cpus < 2:
        raise DeviceError(f"the Ray cluster has {cpus} CPU; it needs two: for the net and the rest")
    return Cluster(cpus, 0 if device == "cpu" else gpus, per_gpu)
