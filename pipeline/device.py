"""Devices that a model runs on: the names a user may give, and what they mean to Fabric."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

import torch

from terralatent.catalogs.errors import InputError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["DEVICES", "find_device", "make_fabric", "on_gpu", "warn_of_gpu"]

log = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Kinds of devices that a worker may have; whether it does shows there."""


def find_device(device: str) -> tuple[str, int | list[int]]:
    """Accelerator and devices in the words of Fabric.

    Raises:
        InputError: If there is no such device.
    """
    kind, _, number = device.partition(":")
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise InputError(f"device {device!r} is unknown; give auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r} is not here: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices."
        )
    return kind, [int(number)] if kind == "cuda" and number else 1


def on_gpu(device: str) -> bool:
    """Whether a model runs on a GPU of this machine: ``auto``, ``cpu``, ``cuda``, ..."""
    return torch.cuda.is_available() if device == "auto" else device.startswith("cuda")


def make_fabric(accelerator: str, devices: int | list[int]) -> Fabric:
    """One device in full float32; imported here because it takes seconds."""
    from lightning.fabric import Fabric

    if accelerator == "cuda":
        warn_of_gpu()
    return Fabric(accelerator=accelerator, devices=devices, precision="32-true")


@cache
def warn_of_gpu() -> None:
    """Warn once in a process that GPUs are experimental."""
    log.warning("a GPU is used, which is experimental: not measured on a GPU yet")
