"""A store is made once, changed by one writer, and never mistaken for another."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import icechunk
import numpy as np
import pytest
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.arrays import ArrayLayout, GroupLayout, Layout, coordinate
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.location import locate, open_storage
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.store.settings import repository_settings
from tests.waiting import WITHIN_S


def layout(kind: str = "cube", **identity: object) -> Layout:
    names = coordinate("name", ("item",), np.array(["a", "", "ü"], dtype=object))
    data = ArrayLayout("data", ("y", "x"), (8, 8), "uint16", (2, 2), (4, 4), fill_value=7)
    groups = (GroupLayout("", (names,), {"note": 1}), GroupLayout("sensor", (data,)))
    return Layout(kind, {"block": 4, "grid": {"shape": [8, 8]}, **identity}, groups)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.of(tmp_path / "store")
    lay_out(Store.of(store), layout())
    return store


def test_no_path_is_not_the_current_folder() -> None:
    with pytest.raises(InputError, match="path of a store is empty"):
        locate("")


def test_a_store_holds_what_was_laid_out(store: Store) -> None:
    root = store.group(kind="cube")

    assert list(root["name"][:]) == ["a", "", "ü"]
    assert (root["sensor/data"][:] == 7).all()
    assert root["sensor/data"].shards == (4, 4)
    assert root.attrs["note"] == 1
    assert store.about()["kind"] == "cube"
    assert store.about()["identity"] == {"block": 4, "grid": {"shape": [8, 8]}}


def test_laying_out_again_changes_nothing(store: Store) -> None:
    before = store.snapshot()

    assert lay_out(Store.of(store), layout()) is False
    assert store.snapshot() == before


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (layout(block=8), "block is 4 there, 8 here"),
        (layout(grid={"shape": [8, 9]}), r"grid.shape is \[8, 8\] there, \[8, 9\] here"),
        (layout(model="ab"), 'model is absent there, "ab" here'),
        (layout("latents"), "is a cube store, not a latents store"),
    ],
)
def test_another_identity_is_refused_by_its_difference(
    store: Store, other: Layout, words: str
) -> None:
    before = store.snapshot()

    with pytest.raises(InputError, match=words):
        lay_out(Store.of(store), other)

    assert store.snapshot() == before


def test_what_is_no_store_is_neither_written_nor_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    zarr.create_group(str(tmp_path / "plain"))

    with pytest.raises(InputError, match="exists and is no store"):
        lay_out(Store.of(tmp_path / "folder"), layout())
    with pytest.raises(InputError, match="is plain Zarr, which is only read"):
        lay_out(Store.of(tmp_path / "plain"), layout())
    with pytest.raises(InputError, match="there is no store here"):
        Store.of(tmp_path / "nothing").group()
    with pytest.raises(InputError, match="not of terralatent; a cube store is wanted"):
        Store.of(tmp_path / "plain").group(kind="cube")

    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["thesis.txt"]
    assert not Store.of(tmp_path / "nothing").exists()
    assert not (tmp_path / "nothing").exists()


def test_a_store_whose_maker_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    icechunk.Repository.create(open_storage(tmp_path / "store"))

    assert lay_out(Store.of(tmp_path / "store"), layout()) is True
    assert Store.of(tmp_path / "store").group(kind="cube")["sensor/data"].shape == (8, 8)


def test_a_snapshot_never_changes(store: Store) -> None:
    before = store.snapshot()
    session = store.repository().writable_session("main")
    zarr.open_group(session.store)["sensor/data"][:] = 1
    session.commit("change")

    assert (store.group(snapshot=before)["sensor/data"][:] == 7).all()
    assert (store.group()["sensor/data"][:] == 1).all()
    assert store.snapshot() != before
    with pytest.raises(InputError, match="has no snapshot"):
        store.group(snapshot="NOSUCHSNAPSHOT")


def test_the_wrong_kind_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="is a cube store; a latents store is wanted here"):
        store.group(kind="latents")


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://bucket", "az://container/x"])
def test_urls_that_lead_nowhere_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)

    with pytest.raises(InputError, match=url):
        open_storage(locate(url))


@pytest.mark.parametrize("left", [[], ["snapshots"], ["snapshots", "refs"]])
def test_a_store_whose_maker_was_killed_is_made_anew(tmp_path: Path, left: list[str]) -> None:
    """In a folder that was there before; one that was not is put into its place as a whole."""
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(whole)))
    begun.mkdir()
    for name in left:
        shutil.copytree(whole / name, begun / name)

    assert lay_out(Store.of(begun), layout())

    assert Store.of(begun).about()["kind"] == "cube"
    assert not lay_out(Store.of(begun), layout())


def test_what_is_left_of_a_store_that_was_never_put_into_its_place_is_removed(
    tmp_path: Path,
) -> None:
    (tmp_path / ".new.new" / "snapshots").mkdir(parents=True)
    (tmp_path / ".new.new" / "snapshots" / "half").write_bytes(b"")

    assert lay_out(Store.of(tmp_path / "new"), layout())

    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]


def test_lists_that_differ_are_shown_by_their_ends(tmp_path: Path) -> None:
    def made_of(dates: list[str]) -> Layout:
        return Layout("latents", {"dates": dates}, (GroupLayout("", ()),))

    months = [f"2018-{month:02d}-15" for month in range(1, 13)]
    lay_out(Store.of(tmp_path / "s"), made_of(months))
    with pytest.raises(InputError) as refused:
        lay_out(Store.of(tmp_path / "s"), made_of(["2018-01-15", "2018-02-15"]))
    assert 'dates is "2018-01-15" to "2018-12-15" (12 in all) there, ' in str(refused.value)
    assert '["2018-01-15", "2018-02-15"] here' in str(refused.value)
    with pytest.raises(InputError, match="there and here, but not the same between"):
        lay_out(Store.of(tmp_path / "s"), made_of([*months[:5], "2018-06-16", *months[6:]]))


def test_a_store_travels_as_its_location(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.group()
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert len(pickle.dumps(store)) < 500, "what is open stays"
    assert copy.snapshot() == store.snapshot()

    monkeypatch.chdir(store.path.parent)  # type: ignore[union-attr]
    relative = Store.of("store")
    assert (str(relative), relative.address) == ("store", str(store.path))


def test_a_repository_is_opened_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(
        Store, "_open", lambda self, open=Store._open: opened.append(self) or open(self)
    )

    store = Store.of(store.name)
    for _ in range(2):
        assert store.exists()
        assert store.about()["kind"] == "cube"
        before = store.snapshot()
        session = store.repository().writable_session("main")
        zarr.open_group(session.store)["sensor/data"][:] += 1
        session.commit("change")
        assert store.snapshot() != before, "what others commit is seen"

    assert len(opened) == 1
    store.repository(anew=True)
    assert len(opened) == 2


def fields_of(settings: object) -> dict[str, object]:
    """The fields of a configuration of Icechunk's."""
    names = (name for name in dir(settings) if not name.startswith("_"))
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if not callable(value)}


def unset(settings: object, name: str = "") -> list[str]:
    """Paths of the fields that are left open."""
    if settings is None:
        return [name]
    if not type(settings).__module__.startswith(("icechunk", "builtins")):
        return []
    if isinstance(settings, str | int | float | bool | dict | tuple):
        return []
    fields = fields_of(settings)
    if any(type(value) is type(settings) for value in fields.values()):
        return []  # one of an enumeration
    return [
        path
        for field, value in fields.items()
        for path in unset(value, f"{name}.{field}".lstrip("."))
    ]


@pytest.mark.parametrize(
    ("store", "open_fields"),
    [
        # A folder has no classes of storage, and Azure none of these names.
        ("folder", {f"storage.{kind}storage_class" for kind in ("", "chunks_", "metadata_")}),
        ("s3://bucket/store", set()),
        ("gs://bucket/store", set()),
        (
            "az://bucket/store",
            {f"storage.{kind}storage_class" for kind in ("", "chunks_", "metadata_")},
        ),
    ],
)
def test_no_setting_is_left_to_the_store_s_own_file(store: str, open_fields: set[str]) -> None:
    assert set(unset(repository_settings(locate(store)))) == open_fields


def test_a_hostile_configuration_in_a_store_changes_nothing(store: Store) -> None:
    assert store.path is not None
    (store.path / "config.yaml").write_text(
        "inline_chunk_threshold_bytes: 65535\n"
        "get_partial_values_concurrency: 0\n"
        "max_concurrent_requests: 0\n"
        "compression: {algorithm: zstd, level: 200}\n"
        "caching: {num_snapshot_nodes: 0, num_chunk_refs: 0, num_transaction_changes: 0,"
        " num_bytes_attributes: 0, num_bytes_chunks: 0}\n"
        "storage:\n"
        "  concurrency: {max_concurrent_requests_for_object: 1, ideal_concurrent_request_size: 1}\n"
        "  retries: {max_tries: 65535, initial_backoff_ms: 1000000, max_backoff_ms: 1000000}\n"
        "  unsafe_use_conditional_create: false\n"
        "  minimum_size_for_multipart_upload: 0\n"
        "virtual_chunk_containers: null\n"
        "manifest:\n"
        "  preload: {max_total_refs: 4000000000, preload_if: 'true'}\n"
        "  splitting: null\n"
    )
    # In a process of its own: what hangs there hangs in threads of Rust, which hear no timeout.
    script = (
        "import sys; from terralatent.pipeline.store.repository import Store\n"
        "group = Store.of(sys.argv[1]).group()\n"
        "print(group['sensor/data'][...].sum(), list(group['name'][:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(store.path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )

    assert done.stdout == "448 ['a', '', 'ü']\n", done.stderr
    session = store.repository().writable_session("main")
    zarr.open_group(session.store, mode="r+")["sensor/data"][...] = 1
    store.commit(session, "write")
    assert (Store.of(store.path).group()["sensor/data"][...] == 1).all()
