"""What the benchmark of protections takes off is off, and on again afterwards."""

from pathlib import Path

import pytest

from benchmarks.trust.without import WAYS, without
from terralatent.pipeline.store.chunks import chunks_without_checksum
from terralatent.pipeline.store.digests import read_sums
from terralatent.pipeline.store.repository import Store
from tests.made.tiny import tiny_cube


@pytest.mark.parametrize("way", WAYS)
def test_a_store_lacks_what_is_taken_off_and_nothing_else(way: str, tmp_path: Path) -> None:
    with without(way):
        taken = Store.of(tiny_cube(tmp_path / "taken", side=4, block=4))
    whole = Store.of(tiny_cube(tmp_path / "whole", side=4, block=4))

    has_checksums = "checksums" not in way
    assert (chunks_without_checksum(taken.group()) == 0) == has_checksums
    assert bool(read_sums(taken.location)) == has_checksums
    assert chunks_without_checksum(whole.group()) == 0
    assert read_sums(whole.location)
