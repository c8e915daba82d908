"""No bit that flips anywhere in a store is read as data: it changes nothing, or it is named.

Stores are laid out and written as runs do it: shards with inner chunks, chunks that Icechunk keeps
in manifests, text, an older snapshot. Each flip is read as a user would, through a store opened
anew, and checked.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.store.arrays import ArrayLayout, GroupLayout, Layout, coordinate
from terralatent.pipeline.store.chunks import DamagedChunkError
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.digests import SUMS, changed_files, rewritten_snapshots
from terralatent.pipeline.store.history import expire
from terralatent.pipeline.store.integrity import check_store
from terralatent.pipeline.store.repository import BRANCH, Store

MADE = {"icechunk": 75, "zarr": 75}
"""Flips that are tried of each kind of store."""

MANY = 2_000
"""The same in soak."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return an Icechunk store, and its export as plain Zarr."""
    folder = tmp_path_factory.mktemp("stores")
    store = Store.of(folder / "icechunk")
    names = coordinate("name", ("item",), np.array(["a", "", "ü"], dtype=object))
    times = coordinate("time", ("time",), np.arange(40) * 86_400_000_000)
    data = ArrayLayout("data", ("y", "x"), (64, 64), "uint16", (16, 16), (32, 32), fill_value=7)
    flat = ArrayLayout("flat", ("y", "x"), (64, 64), "uint8", (16, 16), (32, 32), fill_value=0)
    sensor = GroupLayout("sensor", (data, flat, times), {"units": "1"})
    lay_out(store, Layout("cube", {"block": 32}, (GroupLayout("", (names,)), sensor)))
    drawn = np.random.default_rng(1)
    for part in (slice(0, 32), slice(32, 64)):
        session = store.repository(anew=True).writable_session(BRANCH)
        group = zarr.open_group(session.store, mode="r+")
        group["sensor/data"][part] = drawn.integers(0, 10_000, (32, 64), dtype="uint16")
        group["sensor/flat"][part] = 3  # so little that it is kept in a manifest
        store.commit(session, "write a part")
    export(store, folder / "zarr")
    return {"icechunk": folder / "icechunk", "zarr": folder / "zarr"}


def content(path: Path) -> dict[str, object]:
    """Read all that a user reads of a store, opened anew: attributes, shapes and values.

    Raises:
        InputError: In the words that a user sees, of a store that is damaged.
    """
    store = Store.of(path)
    with translated_errors(store):
        root = store.group(kind="cube")
        nodes = sorted(root.members(max_depth=None))
        values = {name: np.asarray(node[...]).tolist() for name, node in nodes if is_array(node)}
        attributes = {name: node.attrs.asdict() for name, node in nodes}
    return {"values": values, "attributes": attributes, "root": root.attrs.asdict()}


def is_array(node: object) -> bool:
    """Whether it is an array."""
    return isinstance(node, zarr.Array)


def flips(path: Path, count: int, seed: int) -> Iterator[tuple[Path, int, int]]:
    """Yield a file, a byte and a bit: every file first, then as often as it has bytes."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    drawn = np.random.default_rng(seed)
    sizes = np.array([file.stat().st_size for file in files])
    rest = drawn.choice(len(files), max(0, count - len(files)), p=sizes / sizes.sum())
    for place in [*range(len(files)), *rest][:count]:
        yield files[place], int(drawn.integers(sizes[place])), int(drawn.integers(8))


def try_flip(store: Path, file: Path, byte: int, bit: int, true: dict[str, object]) -> str:
    """Flip a bit, read and check the store, and put the bit back; say what came of it."""
    raw = file.read_bytes()
    file.write_bytes(raw[:byte] + bytes([raw[byte] ^ 1 << bit]) + raw[byte + 1 :])
    try:
        return what_came(store, true)
    finally:
        file.write_bytes(raw)


def what_came(store: Path, true: dict[str, object]) -> str:
    """Read and check a store, and say what came of it."""
    try:
        read = "equal" if content(store) == true else "OTHER VALUES"
    except InputError as error:
        read = "named" if "is damaged" in str(error) else f"NOT NAMED: {error}"
    try:
        checked = "named" if check_store(store).damaged else "as it was written"
    except InputError as error:
        checked = "named" if "is damaged" in str(error) else f"NOT NAMED: {error}"
    return f"read: {read}; checked: {checked}"


def hold_for(store: Path, count: int, seed: int) -> None:
    """Check that each of ``count`` flips is harmless or named."""
    true = content(store)
    assert not check_store(store).damaged
    wrong = []
    for file, byte, bit in flips(store, count, seed):
        came = try_flip(store, file, byte, bit, true)
        # What is read equal may be a file that nobody reads now: then the check names it. A branch
        # has no digest: one that is written otherwise and means the same changes nothing.
        harmless = came == "read: equal; checked: as it was written" and has_no_digest(store, file)
        if (not harmless and not came.endswith("checked: named")) or came.startswith("read: OTHER"):
            wrong.append(f"bit {bit} of byte {byte} of {file.relative_to(store)}: {came}")
    assert not wrong, "\n".join(wrong)


def has_no_digest(store: Path, file: Path) -> bool:
    """Whether a file is not in the list of digests, the list itself among them."""
    return str(file.relative_to(store)) not in (store / SUMS).read_text(errors="replace")


@pytest.mark.parametrize("kind", list(MADE))
def test_a_flipped_bit_is_harmless_or_named(stores: dict[str, Path], kind: str) -> None:
    hold_for(stores[kind], MADE[kind], seed=0)


@pytest.mark.soak
@pytest.mark.parametrize("kind", list(MADE))
def test_two_thousand_flipped_bits_are_harmless_or_named(
    stores: dict[str, Path], kind: str
) -> None:
    seed = int(os.environ.get("SOAK_SEED", random.randrange(10**6)))
    os.write(1, f"\nSOAK_SEED={seed} ".encode())  # which repeats them
    hold_for(stores[kind], MANY, seed)


@pytest.mark.parametrize("kind", list(MADE))
def test_each_file_that_is_gone_is_named(
    stores: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    true = content(stores[kind])
    for file in sorted(file for file in stores[kind].rglob("*") if file.is_file()):
        name = file.relative_to(stores[kind])
        if name.name == SUMS or name.parts[0] == "refs":
            continue  # without digests a store is one of before; without branches it is none
        aside = file.rename(tmp_path / "aside")
        try:
            came = what_came(stores[kind], true)
        finally:
            aside.rename(file)
        assert came in (f"read: {read}; checked: named" for read in ("equal", "named")), name


def test_the_chunk_that_is_damaged_is_named(stores: dict[str, Path], tmp_path: Path) -> None:
    plain = shutil.copytree(stores["zarr"], tmp_path / "zarr")
    shard = plain / "sensor/data/c/1/0"
    raw = shard.read_bytes()
    shard.write_bytes(raw[:100] + bytes([raw[100] ^ 1]) + raw[101:])
    array = Store.of(plain).group()["sensor/data"]

    assert (np.asarray(array[:32]) < 10_000).all()
    with pytest.raises(DamagedChunkError, match="its chunk 1/0 of sensor/data is missing or chan"):
        array[32:, :32]


@pytest.mark.parametrize("folder", ["transactions", "snapshots", "manifests"])
def test_what_is_damaged_stays_named_when_old_states_go(
    stores: dict[str, Path], tmp_path: Path, folder: str
) -> None:
    """Whether letting go ends well or not: no damage gets a digest of its own."""
    copy = shutil.copytree(stores["icechunk"], tmp_path / "copy")
    file = max((copy / folder).iterdir(), key=lambda path: path.stat().st_mtime_ns)
    raw = file.read_bytes()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))

    with pytest.raises(KeyError), rewritten_snapshots(copy):
        raise KeyError
    assert file.relative_to(copy).as_posix() in dict(changed_files(copy))
    with suppress(InputError):  # where what is damaged is needed
        expire(copy, "0h")
    assert not file.exists() or file.relative_to(copy).as_posix() in dict(changed_files(copy))
