"""Means of fields in a file of their own: a Parquet table in long form, or netCDF."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.temporary import temporary_folder
from terralatent.pipeline.tables.atomic import MADE, is_made, require_same, writing_parquet

__all__ = ["check_ending", "parts_of", "read_means", "write_means"]

ENDINGS = (".parquet", ".nc")

PARTS = "sums"
"""Ending of the hidden store beside such a file that has what is done of it until it is whole."""

GROUP_ROWS = 2**18
"""Rows of a row group, about."""

ABOUT = b"terralatent:attributes"
"""Under which the metadata of a Parquet file have the attributes of the dataset, as JSON."""

LONG = ("mean", "std", "std_shared", "std_pixel")
"""Variables that have a value for each field, date and band."""


def check_ending(out: Path) -> None:
    """Refuse a path that is no file of these.

    Raises:
        InputError: If it ends otherwise, or lies inside a store.
    """
    if out.suffix not in ENDINGS:
        raise InputError(
            f"{out} is neither a table nor netCDF by its name; give one that ends in .parquet or "
            "in .nc."
        )
    refuse_inside_store(out)


def read_means(out: Path, identity: Mapping[str, Any]) -> xr.Dataset | None:
    """Read a file that is there; None where there is none.

    Args:
        out: The file.
        identity: What it is to be made from, JSON values.

    Raises:
        InputError: If another file is there; the difference is named.
    """
    if out.suffix == ".parquet":
        return _from_parquet(out) if is_made(out, identity) else None
    if not out.exists():
        return None
    try:
        means = xr.load_dataset(out, engine="h5netcdf")
        before = json.loads(means.attrs.pop(MADE.decode()))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{out} is there and was not made by terralatent; choose another out=, or remove it."
        ) from error
    require_same(out, before, identity)
    attrs = {name: _parsed(value) for name, value in means.attrs.items()}
    return means.assign_attrs(attrs)


def write_means(out: Path, means: xr.Dataset, identity: Mapping[str, Any]) -> None:
    """Write the file whole, in place of one that is there.

    Args:
        out: The file.
        means: What :func:`~terralatent.pipeline.fields.means.field_means` gives.
        identity: What it was made from, JSON values.

    Raises:
        InputError: If it cannot be written, or a column of the fields has values of several kinds.
    """
    if out.suffix == ".parquet":
        _to_parquet(out, means, identity)
        return
    flat = means.assign_coords(
        {name: _plain(means[name]) for name in means.coords if means[name].dtype == object}
    )
    flat = flat.assign_attrs({name: _text(value) for name, value in means.attrs.items()})
    flat = flat.assign_attrs({MADE.decode(): json.dumps(identity)})
    try:
        with temporary_folder(f".{out.name}-part", out.parent.absolute()) as folder:
            flat.to_netcdf(folder / out.name, engine="h5netcdf")
            os.replace(folder / out.name, out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}.") from error


def _to_parquet(out: Path, means: xr.Dataset, identity: Mapping[str, Any]) -> None:
    """A row for each field, date and band, in this order."""
    sizes = means.sizes
    about = _about_fields(means)
    attrs = json.dumps(means.attrs)
    each = sizes["time"] * sizes["band"]
    times = pa.array(means.time.values.astype("datetime64[us]")).cast(pa.timestamp("us", tz="UTC"))
    bands = pa.array(means.band.values.tolist(), pa.string())
    step = max(1, GROUP_ROWS // each)
    with writing_parquet(out, identity) as write:
        for first in range(0, sizes["field"], step):
            some = slice(first, first + step)
            part = means.isel(field=some)
            count = part.sizes["field"]
            table = about.take(pa.array(np.repeat(np.arange(count) + first, each)))
            date = np.tile(np.repeat(np.arange(sizes["time"]), sizes["band"]), count)
            band = np.tile(np.arange(sizes["band"]), count * sizes["time"])
            table = table.append_column("time", times.take(pa.array(date)))
            table = table.append_column("band", bands.take(pa.array(band)))
            for name in LONG:
                table = table.append_column(name, pa.array(part[name].values.ravel()))
            write(table.replace_schema_metadata({ABOUT: attrs.encode()}))


def _about_fields(means: xr.Dataset) -> pa.Table:
    """A row for each field: its name, what is known of it, and its pixels."""
    known = [name for name in means.coords if means[name].dims == ("field",)]
    frame = pd.DataFrame({name: means[name].values for name in known})
    frame["pixels"] = means["pixels"].values
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    except (pa.ArrowException, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The fields have a column of mixed values: {reason}") from error


def _from_parquet(out: Path) -> xr.Dataset:
    table = pq.read_table(out)
    attrs = json.loads(table.schema.metadata[ABOUT])
    times = pd.unique(table["time"].to_pandas().dt.tz_localize(None))
    bands = pd.unique(table["band"].to_pandas())
    shape = (-1, len(times), len(bands))
    frame = table.drop_columns(["time", "band", *LONG]).slice()
    frame = frame.take(pa.array(np.arange(0, len(table), shape[1] * shape[2]))).to_pandas()
    values = {
        name: (("field", "time", "band"), table[name].to_numpy().reshape(shape)) for name in LONG
    }
    pixels = frame.pop("pixels").to_numpy()
    columns = {str(name): ("field", own.to_numpy()) for name, own in frame.items()}
    coords = {**columns, "time": np.asarray(times, "datetime64[us]"), "band": np.asarray(bands)}
    return xr.Dataset({**values, "pixels": ("field", pixels)}, coords, attrs)


def _plain(values: xr.DataArray) -> xr.DataArray:
    """Objects as netCDF can hold them: text, empty where there is nothing."""
    texts = ["" if _is_nothing(value) else str(value) for value in values.values]
    return values.copy(data=np.array(texts, dtype=object))


def _is_nothing(value: Any) -> bool:
    return value is None or (np.isscalar(value) and bool(pd.isna(value)))


def _text(value: Any) -> Any:
    """An attribute as netCDF can hold it: what is neither number nor text, as JSON."""
    return value if isinstance(value, (str, float)) else json.dumps(value)


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.loads(value)
    return value


def parts_of(out: Path) -> Path:
    """Where what is done of a file lies until it is whole."""
    return out.with_name(f".{out.name}.{PARTS}")
