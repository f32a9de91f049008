"""The tables that mirror textures, as whoever only has textures finds them."""

import numpy as np
import pytest

from shards.uv_mirror import mirror_table


def test_the_table_of_the_embedded_body():
    table = mirror_table("makehuman")
    assert table.shape == (256, 256) and table.dtype == np.int64
    assert table.min() >= 0 and table.max() < 256 * 256
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1
    assert mirror_table("makehuman") is table


def test_twice_in_the_mirror_is_about_as_before():
    """Within the charts: by at most a texel or two but for a few at their borders, where the other side's texel is another
    chart's."""
    table = mirror_table("makehuman").reshape(-1)
    changed = table != np.arange(256 * 256)
    twice = np.stack(np.divmod(table[table], 256)) - np.stack(np.divmod(np.arange(256 * 256), 256))
    distance = np.abs(twice[:, changed]).max(0)
    assert changed.mean() > 0.6
    assert (distance == 0).mean() > 0.8 and (distance <= 4).mean() > 0.98


@pytest.mark.parametrize("layout", ["smpl", "", "../uv_mirror_makehuman"])
def test_a_layout_without_a_table(layout: str):
    with pytest.raises(ValueError, match=r"layouts makehuman, got .*scripts/bake_uv_mirror.py --body smpl=PATH"):
        mirror_table(layout)
