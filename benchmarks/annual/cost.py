"""What annual vectors take of a disk and of time, beside monthly latents of the same cube."""

from __future__ import annotations

from pathlib import Path

import torch
import zarr

from benchmarks.embed.cube import repeated_cube, scenes_cube
from benchmarks.embed.workers import cost_of, fresh_workers
from terralatent.models.shipped import model_folder, pretrained
from terralatent.pipeline import annual, embed
from terralatent.pipeline.store.repository import Store

__all__ = ["compare_cost"]

MEMORY = "4GB"
WINDOW = "2017-12-01/2018-11-30"


def compare_cost(scenes: Path, cache: Path, folder: Path, *, side: int, rounds: int) -> None:
    """Print bytes a pixel-year of each product, and the time of `annual` over that of `embed`.

    In turns on fresh workers, best of some rounds; starting the workers is not counted.

    Args:
        scenes: Real scenes, which are repeated in space.
        cache: Where the cube is kept.
        folder: Where stores go.
        side: Pixels along the cube.
        rounds: Of each.
    """
    cube = repeated_cube(scenes_cube(scenes, cache), side, side // 2)
    ways = {
        "embed, monthly": lambda client, out: embed(
            cube, out=out, client=client, memory=MEMORY, device="cpu"
        ),
        **{
            f"annual, {components} components, {precision}": lambda client, out, k=components,
            p=precision: annual(
                cube, out=out, window=WINDOW, components=k, precision=p, client=client,
                memory=MEMORY, device="cpu",
            )
            for components, precision in ((64, "int8"), (16, "int8"), (64, "float32"))
        },
    }  # fmt: skip
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(rounds):
        for name in ways if turn % 2 == 0 else reversed(ways):
            out = folder / f"{name} {turn}"
            with fresh_workers(2, model_folder(None), MEMORY) as client:
                client.run(_warm_up)
                cost = cost_of(client, lambda name=name, out=out, c=client: ways[name](c, out))
            best[name] = min(best[name], cost.wall)
    first = next(iter(ways))
    for name in ways:
        root = Store.of(folder / f"{name} 0").group()
        plain = {array: _bytes(root[array], side) for array in _on_grid(root)}
        stored = sum(path.stat().st_size for path in (folder / f"{name} 0").rglob("*")
                     if path.is_file())  # fmt: skip
        parts = ", ".join(f"{array} {size:g}" for array, size in plain.items())
        print(f"{name}: {sum(plain.values()):g} bytes a pixel-year ({parts}), "
              f"{stored / side**2:.1f} compressed; {best[name]:.2f} s, "
              f"{best[name] / best[first]:.2f} of `{first}`")  # fmt: skip


def _warm_up() -> None:
    """Import what annual vectors need and load the compiled walk of functionals, as the workers
    have it of means."""
    import terralatent.pipeline.embeddings.product  # noqa: F401

    model = pretrained()
    days = torch.arange(200, dtype=torch.float64)
    w = torch.ones(100, len(days), model.config.latents)
    weights = torch.ones(1, 12, model.config.latents)
    with torch.no_grad():
        model.inference.functionals(model.kernel, days, w, w, days[:12] + 0.5, weights)


def _on_grid(root: zarr.Group) -> list[str]:
    return [name for name, array in sorted(root.arrays())
            if (array.metadata.dimension_names or ())[-2:] == ("y", "x")]  # fmt: skip


def _bytes(array: zarr.Array, side: int) -> float:
    return array.size * array.dtype.itemsize / side**2
