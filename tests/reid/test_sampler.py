"""Batches of an epoch: everybody comes, nobody twice in a batch, and processes share them out."""

import logging
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.sampler import SamplerConfig, epoch_batches, slice_of_process


def histogram(counts: list[int]) -> np.ndarray:
    """Classes of samples, shuffled, class i counts[i] times."""
    return np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=3, max_size=12), st.integers(1, 5), st.integers(1, 3), st.integers(0, 9))
def test_every_image_comes_and_nobody_twice_in_a_batch(counts, per_identity, num_identities, seed):
    classes = histogram(counts)
    config = SamplerConfig(batch_size=per_identity * num_identities, images_per_identity=per_identity)
    rows = epoch_batches(classes, config, seed, 0)
    groups = [-(-count // per_identity) for count in counts]
    assert rows.shape == (max(-(-sum(groups) // num_identities), max(groups)), config.batch_size)
    assert set(rows.ravel().tolist()) == set(range(len(classes)))
    for row in rows:
        groups_of_row = row.reshape(num_identities, per_identity)
        assert (classes[groups_of_row] == classes[groups_of_row[:, :1]]).all()
        assert len(set(classes[row].tolist())) == num_identities
        for group in groups_of_row:
            most = max(Counter(group.tolist()).values())
            assert most == -(-per_identity // min(per_identity, counts[classes[group[0]]]))


def test_who_must_come_in_every_batch_does():
    """One of 30 groups and 30 of one fill 30 batches of two only if the one is in all of them."""
    classes = histogram([30] + [1] * 30)
    rows = epoch_batches(classes, SamplerConfig(batch_size=2, images_per_identity=1), 0, 0)
    assert rows.shape == (30, 2) and len(set(rows.ravel().tolist())) == 60


def test_images_of_an_identity_are_dealt_anew_in_every_epoch():
    classes, config = histogram([8, 8]), SamplerConfig(batch_size=8, images_per_identity=4)
    groups = {
        frozenset(group.tolist())
        for epoch in range(20)
        for group in epoch_batches(classes, config, 0, epoch).reshape(-1, 4)
    }
    assert len(groups) > 40  # 2 x 70 are possible, 80 are dealt


def test_equal_identities_come_equally_often():
    rows = epoch_batches(histogram([12] * 10), SamplerConfig(batch_size=20, images_per_identity=4), 0, 0)
    assert rows.shape == (6, 20)
    assert set(Counter(rows.ravel().tolist()).values()) == {1}


def test_identities_are_drawn_in_proportion_to_what_they_have_left():
    """One of 30 groups beside 50 of 3: a first batch of 3 holds it with 1 - 150/180 x 147/177 x 144/174 = 0.43, not 3/51."""
    classes = histogram([30] + [3] * 50)
    config = SamplerConfig(batch_size=3, images_per_identity=1)
    first = [epoch_batches(classes, config, seed, 0)[0] for seed in range(300)]
    assert 0.34 < np.mean([0 in classes[row] for row in first]) < 0.52


def test_a_pure_function_of_seed_and_epoch():
    classes, config = histogram([9, 5, 7, 8]), SamplerConfig(batch_size=6, images_per_identity=3)
    for one in (config, SamplerConfig(batch_size=6, images_per_identity=None)):
        rows = epoch_batches(classes, one, 0, 3)
        np.testing.assert_array_equal(rows, epoch_batches(classes, one, 0, 3))
        assert not np.array_equal(rows, epoch_batches(classes, one, 0, 4))
        assert not np.array_equal(rows, epoch_batches(classes, one, 3, 0))


def test_places_in_a_batch_are_random():
    """Or the first process would always train on those who must come."""
    classes = histogram([40, 4, 4, 4])
    rows = epoch_batches(classes, SamplerConfig(batch_size=8, images_per_identity=4), 0, 0)
    assert set((classes[rows[:, 0]] == 0).tolist()) == {True, False}


def test_plain_shuffling_gives_every_image():
    rows = epoch_batches(histogram([9, 5, 7, 8]), SamplerConfig(batch_size=8, images_per_identity=None), 0, 0)
    counts = Counter(rows.ravel().tolist())
    assert rows.shape == (4, 8) and set(counts) == set(range(29)) and sorted(counts.values())[-4:] == [1, 2, 2, 2]


def test_processes_share_a_batch():
    rows = np.arange(24).reshape(2, 12)
    slices = [slice_of_process(rows, rank, 3) for rank in range(3)]
    np.testing.assert_array_equal(np.concatenate(slices, 1), rows)
    with pytest.raises(ValueError, match="multiple of the 5 processes, got 12"):
        slice_of_process(rows, 0, 5)


def test_short_identities_are_told_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    for epoch in range(3):
        epoch_batches(histogram([1, 2, 4, 9]), SamplerConfig(batch_size=8, images_per_identity=4), 0, epoch)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "2 of 4 identities have fewer than 4 images"
    ]


def test_what_cannot_be_sampled():
    with pytest.raises(ValueError, match="needs 3 identities, the sets have 2"):
        epoch_batches(histogram([9, 9]), SamplerConfig(batch_size=12, images_per_identity=4), 0, 0)
    with pytest.raises(ValueError, match="needs as many samples, got 9"):
        epoch_batches(histogram([9]), SamplerConfig(batch_size=10, images_per_identity=None), 0, 0)
    with pytest.raises(ValueError, match="multiple of images_per_identity"):
        SamplerConfig(batch_size=10, images_per_identity=4)
    with pytest.raises(ValueError, match="batch_size must be >= 1"):
        SamplerConfig(batch_size=0, images_per_identity=None)
