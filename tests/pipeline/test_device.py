"""Devices by the names that users give them."""

from __future__ import annotations

import pytest
import torch

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.device import find_device, warn_of_gpu


def test_devices_are_named_as_torch_names_them() -> None:
    assert find_device("cpu") == ("cpu", 1)
    assert find_device("auto")[0] == ("cuda" if torch.cuda.is_available() else "cpu")
    for device in ("gpu", "cuda:one", "", "cuda:99"):
        with pytest.raises(InputError, match=r"is unknown; give|is not here"):
            find_device(device)


def test_that_gpus_are_experimental_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_gpu.cache_clear()
    warn_of_gpu()
    warn_of_gpu()
    (record,) = caplog.records
    assert "experimental: not measured on a GPU yet" in record.getMessage()
