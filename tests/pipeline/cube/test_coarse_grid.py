"""Laws of the coarse grid over a cube: cells that know no blocks, and no seams between them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from terralatent.pipeline.cube.coarse_grid import CoarseGrid, interpolate
from terralatent.pipeline.region import blocks


@pytest.mark.parametrize("shape", [(40, 100), (256, 511), (700, 512), (1, 1)])
def test_each_cell_has_a_patch_of_its_own_inside_it(shape: tuple[int, int]) -> None:
    grid = CoarseGrid(shape)
    taken = np.zeros(shape, dtype=int)
    for patch in grid.patches():
        taken[patch.y, patch.x] += 1
        for axis, part in enumerate((patch.y, patch.x)):
            assert 0 <= part.start < part.stop <= shape[axis]
            assert part.start % 64 == 0
            assert part.stop - part.start == min(64, shape[axis])
            middle = 0.5 * (part.start + part.stop - 1)
            assert (grid.y, grid.x)[axis][patch.index[axis]] == middle
            assert middle // 256 == patch.index[axis]
    assert taken.max() == 1
    assert (len(grid.y), len(grid.x)) == tuple(max(1, length // 256) for length in shape)


def test_between_cells_values_are_bilinear_and_beyond_them_constant() -> None:
    grid = CoarseGrid((70, 50), cell=16)
    shape = (len(grid.y), len(grid.x))
    values = np.random.default_rng(0).normal(size=(3, 2, *shape)).astype(np.float32)
    y, x = slice(5, 69), slice(0, 50)

    between = interpolate(values, (grid.y, grid.x), y, x).at(slice(None)).reshape(64, 50, 3, 2)

    exact = RegularGridInterpolator((grid.y, grid.x), values.transpose(2, 3, 0, 1))
    rows = np.clip(np.arange(5, 69), grid.y[0], grid.y[-1])
    columns = np.clip(np.arange(50), grid.x[0], grid.x[-1])
    np.testing.assert_allclose(
        between, exact(tuple(np.meshgrid(rows, columns, indexing="ij"))), atol=1e-6
    )


@pytest.mark.parametrize("size", [7, 16, 70])
def test_a_pixel_has_the_same_error_in_every_window(size: int) -> None:
    grid = CoarseGrid((70, 50), cell=16)
    values = np.random.default_rng(0).normal(size=(3, 2, len(grid.y), len(grid.x)))
    nodes = (grid.y, grid.x)
    whole = interpolate(values, nodes, slice(0, 70), slice(0, 50)).at(slice(None))
    whole = whole.reshape(70, 50, 3, 2)
    for block in blocks((70, 50), size):
        window = interpolate(values, nodes, block.y, block.x)
        some = np.arange(block.shape[0] * block.shape[1])[::3]
        wanted = whole[block.y, block.x].reshape(-1, 3, 2)[some]
        np.testing.assert_array_equal(window.at(some), wanted)
