"""One file that is whole or the old one, says what it is of, and is refused in words where it is none of ours."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_trainer import TinyModel, build_tiny, tiny_config

from reid.checkpoint import (
    State,
    check_same_run,
    checkpoint_path,
    load_run,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from reid.losses import LossConfig
from reid.presets import PRESETS
from shards.manifest import package_version


def tiny(seed: int = 0, num_classes: int = 3) -> TinyModel:
    torch.manual_seed(seed)
    return TinyModel(num_classes, LossConfig())


def state(**changes: object) -> State:
    values = {
        "config": tiny_config("data/market"), "class_names": ("m/1", "m/2", "m/Zoë"), "num_samples": 9, "epoch": 2, "step": 1,
        "total_steps": 7, "best_mean_ap": 1 / 3, "scaler": {"scale": 65536.0, "_growth_tracker": 5}, "provenance": "nothing",
    }  # fmt: skip
    return State(**(values | changes))


def save(path: Path, **changes: object) -> Path:
    save_checkpoint(path, tiny(), state(**changes), {"0.head.1.bias/exp_avg": torch.arange(16.0)})
    return path


def rewrite(path: Path, **changes: object) -> None:
    """Change what the file says of itself."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["lookalike"])
    about = {name: value for name, value in (about | changes).items() if value is not ...}
    save_file(load_file(path), path, {"lookalike": json.dumps(about)})


def test_what_is_written_is_read(tmp_path: Path):
    path = save(tmp_path / "last.safetensors")
    found, weights, optimiser = read_checkpoint(path)
    assert found == state()
    assert weights.keys() == tiny().state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in tiny().state_dict().items())
    assert list(optimiser) == ["0.head.1.bias/exp_avg"] and optimiser["0.head.1.bias/exp_avg"].tolist() == list(
        range(16)
    )
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]
    save(path, best_mean_ap=None, scaler=None)
    assert read_checkpoint(path)[0] == state(best_mean_ap=None, scaler=None)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_s_configuration_is_kept(tmp_path: Path, name: str):
    path = save(tmp_path / "a", config=PRESETS[name]())
    assert read_checkpoint(path)[0].config == PRESETS[name]()


def test_memory_formats_and_views_do_not_matter(tmp_path: Path):
    model = tiny().to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "a", model, state(), {"x/y": torch.arange(6.0).view(2, 3).T})
    _, weights, optimiser = read_checkpoint(tmp_path / "a")
    assert torch.equal(weights["backbone.0.weight"], tiny().backbone[0].weight)
    assert optimiser["x/y"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(tmp_path / "last.safetensors")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="space"):
        save(path, epoch=3)
    assert path.read_bytes() == before and read_checkpoint(path)[0].epoch == 2
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_cut_file_is_told(tmp_path: Path, keep: int):
    path = save(tmp_path / "last.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{path} is no checkpoint of lookalike, or it is damaged"):
        read_checkpoint(path)


def test_files_of_others_are_told(tmp_path: Path):
    path = tmp_path / "last.safetensors"
    for metadata in (None, {"format": "pt"}, {"lookalike": "nonsense"}, {"lookalike": "{}"}, {"lookalike": "[1]"}):
        save_file({"weight": torch.zeros(2)}, path, metadata)
        with pytest.raises(ValueError, match="is no checkpoint of lookalike, or it is damaged"):
            read_checkpoint(path)
    np.savez(path.open("wb"), weight=np.zeros(2))
    with pytest.raises(ValueError, match="is no checkpoint of lookalike, or it is damaged"):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint .*give the folder of a run of `python -m reid train`"):
        read_checkpoint(tmp_path / "nowhere")


def test_files_of_other_versions_are_told(tmp_path: Path):
    for changes in ({"format": 1}, {"mood": "good"}, {"num_samples": ...}):
        path = save(tmp_path / "last.safetensors")
        rewrite(path, version="9.1", **changes)
        with pytest.raises(ValueError, match="was written by lookalike 9.1, whose format this version does not read"):
            read_checkpoint(path)
    path = save(tmp_path / "last.safetensors")
    rewrite(path, config={"hats": 1})
    with pytest.raises(ValueError, match=f"{path} holds a configuration that this version .* does not read: .*hats"):
        read_checkpoint(path)
    rewrite(save(path))
    assert read_checkpoint(path)[0] == state()
    assert package_version() in path.read_bytes()[:100_000].decode("latin")


def test_another_run_is_not_gone_on_with():
    check_same_run(state(), state(epoch=0, best_mean_ap=None))
    other = replace(tiny_config("data/market", seed=4), start="a")
    message = 'of another configuration, seed: 0, not 4; start: null, not "a": give the options that the run was'
    with pytest.raises(ValueError, match=message):
        check_same_run(state(), state(config=other))
    for changes in ({"num_samples": 8}, {"class_names": ("m/1", "m/2", "m/3")}, {"num_pairs": 7}):
        with pytest.raises(
            ValueError, match="the training data have changed: .* identities and . pairs, the .*; give another --out"
        ):
            check_same_run(state(), state(**changes))
    check_same_run(state(), state(num_processes=2))
    with pytest.raises(ValueError, match="go on with 1 processes, not 2, or give another --out"):
        check_same_run(state(num_pairs=7), state(num_pairs=7, num_processes=2))


def test_the_best_is_used_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("reid.checkpoint.build_model", build_tiny)
    with pytest.raises(FileNotFoundError, match="last.safetensors"):
        load_run(tmp_path)
    save(checkpoint_path(tmp_path, "last"))
    run = load_run(tmp_path)
    assert run.state.epoch == 2 and not run.model.training and run.config == tiny_config("data/market")
    save_checkpoint(checkpoint_path(tmp_path, "best"), tiny(seed=1), state(epoch=1), {})
    for which, epoch, seed in ((None, 1, 1), ("best", 1, 1), ("last", 2, 0)):
        run = load_run(tmp_path, which)
        assert run.state.epoch == epoch
        assert torch.equal(run.model.classifier.weight, tiny(seed).classifier.weight)


def test_weights_of_another_network(tmp_path: Path):
    weights = tiny(num_classes=4).state_dict()
    with pytest.raises(ValueError, match="the weights in a do not fit the network of their configuration"):
        load_weights(tiny(), weights, where=Path("a"))
    del weights["classifier.bias"]
    with pytest.raises(ValueError, match="classifier.bias"):
        load_weights(tiny(num_classes=4), weights, where=Path("a"))


def test_what_the_outcome_does_not_depend_on_may_be_given_anew():
    found = state()
    config = found.config
    other = replace(
        config, checkpoint_every=7, compile=True, data=replace(config.data, memory_gib=0.5, max_bad_samples=3)
    )
    check_same_run(found, replace(found, config=other))
    pairs = replace(found, config=replace(config, data=replace(config.data, pairs=("data/pit",))))
    for one in (found, pairs):
        workers = replace(one.config.data, num_workers=one.config.data.num_workers + 1)
        others = replace(one, config=replace(one.config, data=workers))
        if one is found:
            check_same_run(one, others)
        else:
            with pytest.raises(ValueError, match="another configuration, data.num_workers: "):
                check_same_run(one, others)
