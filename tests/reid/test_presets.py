"""Presets have the numbers that their papers print, survive a file, and explain themselves on the command line."""

import json
from dataclasses import replace

import pytest
import torch
import tyro

from reid.augment import AugmentConfig
from reid.cli import told_plainly
from reid.commands.train import Train
from reid.config import TrainConfig, differences, flat, from_dict, to_dict
from reid.dataset import DataConfig
from reid.losses import PerOrigin
from reid.models.build import build_model
from reid.models.model import Model
from reid.models.pcb import PcbConfig
from reid.presets import PRESETS
from reid.sampler import SamplerConfig

PART_AWARENESS = {
    "optimise.optimiser": "sgd", "optimise.momentum": 0.9, "optimise.weight_decay": 5e-4,
    "optimise.learning_rate": 0.02, "optimise.backbone_factor": 0.5, "optimise.epochs": 60,
    "optimise.milestones": (25, 50), "optimise.gamma": 0.1, "optimise.warmup_epochs": 0, "optimise.decay": "steps",
    "sampler.batch_size": 32, "sampler.images_per_identity": None, "losses.triplet_weight": 0.0,
    "augment.flip": 0.5, "augment.pad": 0, "augment.erase": 0.0,
}  # fmt: skip
"""Huang et al. 2020, sec. IV-C1."""
GLOBAL_POOL = PART_AWARENESS | {
    "input.height": 256,
    "input.width": 128,
    "model.pooling": "max",
    "model.embedding_dim": 512,
}
POSE_TRANSFER = {
    "optimise.optimiser": "sgd", "optimise.momentum": 0.9, "optimise.gamma": 0.1, "augment.flip": 0.5,
    "augment.pad": 0, "augment.erase": 0.0, "input.height": 224, "input.width": 224, "input.resize": (256, 256),
}  # fmt: skip
"""Liu et al. 2018, sec. 4.2."""
BASELINE = {
    "model.backbone.name": "resnet50", "sampler.batch_size": 64, "sampler.images_per_identity": 4,
    **{f"losses.margin.{origin}": 0.3 for origin in ("real", "rendered", "generated")},
    "losses.smoothing.real": 0.1, "losses.smoothing.rendered": 0.1, "losses.smoothing.generated": 0.4,
    "losses.identity_weight": 0.5, "losses.triplet_weight": 1.5, "optimise.optimiser": "adam",
    "optimise.weight_decay": 5e-4, "optimise.learning_rate": 8e-4, "optimise.warmup_epochs": 20,
    "optimise.warmup_factor": 0.01, "optimise.milestones": (40, 80, 120, 160, 200, 240, 280), "optimise.gamma": 0.5,
    "optimise.epochs": 320, "optimise.backbone_factor": 1.0, "input.height": 256, "input.width": 128,
    "augment.erase": 0.5,
}  # fmt: skip
"""Zhang et al. 2019, sec. 4.2."""
DSA = BASELINE | {
    "model.type": "DsaConfig", "model.branches": "both", "model.fusion": "add", "model.part_size": 32,
    "model.fused_identity_weight": 1.0, "augment.flip": 0.5,
}  # fmt: skip
SMOOTHED = {"losses.smoothing.real": 0.0, "losses.smoothing.generated": 0.4, "losses.identity_weight": 1.0}
SAN = {
    "model.type": "SanConfig", "model.backbone.name": "resnet50", "model.reconstruct": "texture",
    "model.reconstruction_weight": 1.0, "model.pooled_constraints": False, "model.encoder_skips": False, "input.height": 256,
    "input.width": 128,
}  # fmt: skip
"""Jin et al. 2020, sec. 3.2."""
PUBLISHED = {
    "baseline": BASELINE,
    "dsa": DSA | {"model.guide": "dense"},
    "dsa-two-branches": DSA | {"model.guide": "none"},
    # Jin et al. 2020, sec. 3.2 and appendix, sec. 5
    "san-pg": SAN | {
        "model.constraint_weight": 0.0, "model.decoder_rate_factor": 1.0, "losses.identity_weight": 0.0,
        "losses.triplet_weight": 0.0, "optimise.optimiser": "adam", "optimise.learning_rate": 1e-4,
        "optimise.epochs": 80, "sampler.batch_size": 16, "augment.erase": 0.0, "augment.flip": 0.5,
    },
    "san-basic": BASELINE | SAN | {"model.constraint_weight": 0.0, "model.decoder_rate_factor": 1e-5 / 8e-4},
    "san": BASELINE | SAN | {
        "model.constraint_weight": 1.0, "model.constraint_blocks": (1, 2, 3), "model.constraint_margin": 0.3, "model.constraint_distance": "sum",
        "model.decoder_rate_factor": 1e-5 / 8e-4,
    },
    "gp-r50": GLOBAL_POOL | {"model.backbone.name": "resnet50"},
    "gp-mobilenetv2": GLOBAL_POOL | {"model.backbone.name": "mobilenetv2"},
    "gp-densenet121": GLOBAL_POOL | {"model.backbone.name": "densenet121"},
    "gp-osnet": {
        "model.backbone.name": "osnet", "model.pooling": "average", "optimise.optimiser": "amsgrad",
        "optimise.decay": "cosine", "optimise.learning_rate": 0.0015, "optimise.epochs": 250,
        "optimise.head_only_epochs": 10, "sampler.batch_size": 64, "input.height": 256, "input.width": 128,
        "augment.flip": 0.5, "augment.erase": 0.5, "losses.smoothing.real": 0.1,
    },
    "pcb": PART_AWARENESS | {"model.type": "PcbConfig", "input.height": 384, "input.width": 128},
    # Huang et al. 2020, sec. III-C and IV-C3
    "mgn": {
        "model.type": "MgnConfig", "model.backbone.name": "resnet50", "model.embedding_dim": 256, "input.height": 384,
        "input.width": 128, "sampler.batch_size": 16 * 8, "sampler.images_per_identity": 8, "losses.margin.real": 0.1,
        "optimise.learning_rate": 0.1, "optimise.triplet_learning_rate": 0.01, "optimise.warmup_epochs": 20,
        "optimise.milestones": (140, 180), "optimise.gamma": 0.1, "optimise.epochs": 200, "optimise.momentum": 0.9,
        "optimise.weight_decay": 5e-4, "evaluate.flip": True, "augment.flip": 0.5, "augment.erase": 0.5,
    },
    "pose-r-ce": POSE_TRANSFER | SMOOTHED | {
        "model.backbone.name": "resnet50", "optimise.learning_rate": 1e-3, "optimise.milestones": (30,),
        "losses.triplet_weight": 0.0,
    },
    "pose-d-ce": POSE_TRANSFER | SMOOTHED | {
        "model.backbone.name": "densenet169", "optimise.learning_rate": 1e-2, "optimise.milestones": (25,),
        "losses.triplet_weight": 0.0,
    },
    "pose-d-tri": POSE_TRANSFER | {
        "model.backbone.name": "densenet169", "optimise.learning_rate": 1e-3, "sampler.batch_size": 128,
        "losses.margin.real": 1.0, "losses.margin.generated": 0.5, "losses.identity_weight": 0.0,
    },
    "laptop": {"model.backbone.name": "resnet18", "input.height": 128, "input.width": 64, "model.neck": True},
}  # fmt: skip
PART_AWARE = {
    "gp-ps": "gp-r50", "gp-ps-mobilenetv2": "gp-mobilenetv2", "gp-ps-densenet121": "gp-densenet121",
    "gp-ps-osnet": "gp-osnet", "pcb-ps": "pcb", "mgn-ps": "mgn",
}  # fmt: skip
"""Preset with a part head -> its baseline (Huang et al. 2020, sec. III and IV-C)."""
PART_HEAD = {"structure": "c", "granularity": 7, "weight": 1.0}
PUBLISHED |= {
    name: PUBLISHED[baseline] | {f"model.part_head.{field}": value for field, value in PART_HEAD.items()}
    for name, baseline in PART_AWARE.items()
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_as_published(name: str):
    found, wanted = json.loads(json.dumps([flat(PRESETS[name]()), PUBLISHED[name]]))
    assert {field: found.get(field, "missing") for field in wanted} == wanted


@pytest.mark.parametrize(("name", "baseline"), PART_AWARE.items())
def test_part_aware_presets_differ_from_their_baselines_in_the_head_alone(name: str, baseline: str):
    changed = {line.partition(":")[0] for line in differences(PRESETS[baseline](), PRESETS[name]())}
    assert changed == {f"model.part_head.{field}" for field in PART_HEAD}


def test_san_differs_from_its_baseline_in_the_model_alone():
    """And in nothing of the model but what it has besides: `test_san.py` compares the networks."""
    baseline = PRESETS["baseline"]()
    for name in ("san-basic", "san"):
        changed = {line.partition(":")[0] for line in differences(baseline, PRESETS[name]())}
        assert {field.split(".")[0] for field in changed} == {"model"} and "model.backbone.name" not in changed
    assert differences(PRESETS["san-basic"](), PRESETS["san"]()) == ["model.constraint_weight: 1.0, not 0.0"]


BASELINES = PART_AWARE | {"san": "baseline", "san-basic": "baseline", "dsa": "dsa-two-branches"}


@pytest.mark.parametrize(("name", "baseline"), BASELINES.items())
def test_at_inference_a_method_costs_what_its_baseline_does(name: str, baseline: str):
    """At full size; `test_models.py` and the methods' own tests compare embeddings."""

    def network(preset: str) -> Model:
        config = PRESETS[preset]()
        with torch.device("meta"):
            return build_model(config.model, 751, losses=config.losses, pretrained=False)

    method, plain = network(name), network(baseline)
    assert num_parameters(method) > num_parameters(plain) > plain.num_kept == method.num_kept
    assert method.num_kept == num_parameters(method.strip()) == num_parameters(plain.strip())


def num_parameters(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parts_and_their_sizes():
    """Six stripes of 256 (Huang et al. 2020, sec. IV-C2)."""
    assert PRESETS["pcb"]().model == PcbConfig()
    assert (PcbConfig().num_stripes, PcbConfig().embedding_dim) == (6, 256)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_a_file(name: str):
    config = replace(PRESETS[name](), data=DataConfig(real=("a", "b"), pairs_ratio=(3, 1)), seed=7)
    assert from_dict(json.loads(json.dumps(to_dict(config))), where="x") == config
    assert differences(config, config) == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_explains_itself(name: str, capsys: pytest.CaptureFixture[str]):
    """As `python -m reid train PRESET --help` does, with its own numbers."""
    arguments = [name, "--help"]
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(Train, args=arguments, default=Train.default(arguments), config=(tyro.conf.AvoidSubcommands,))
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    config = PRESETS[name]()
    assert f"--optimise.learning-rate FLOAT Of layers that came without pretrained weights, after the warm-up. (default: {config.optimise.learning_rate})" in shown  # fmt: skip
    assert f"(default: {config.sampler.batch_size})" in shown and "--data.real" in shown


@pytest.mark.parametrize("name", PRESETS)
def test_every_field_can_be_given(name: str):
    arguments = [
        name,
        "--out",
        "x",
        "--seed",
        "3",
        "--optimise.epochs",
        "9",
        "--augment.hue",
        "0.1",
        "--data.real",
        "a",
        "b",
    ]
    arguments += ["--losses.smoothing.generated", "0.3", "--input.width", "48", "--evaluate.sets", "c"]
    train = tyro.cli(Train, args=arguments, default=Train.default(arguments), config=(tyro.conf.AvoidSubcommands,))
    changed = {line.partition(":")[0] for line in differences(PRESETS[name](), train.config)}
    assert changed - {"input.width"} == {
        "seed", "optimise.epochs", "augment.hue", "data.real", "losses.smoothing.generated", "evaluate.sets",
    }  # fmt: skip
    assert train.config.input.width == 48 and train.config.data.real == ("a", "b") and train.config.seed == 3
    assert (train.preset, str(train.out), train.resume) == (name, "x", False)


def test_the_preset_must_come_first():
    with pytest.raises(ValueError, match="the first argument must be a preset, baseline, .*, laptop; got --out"):
        Train.default(["--out", "x", "laptop"])
    for arguments in ([], ["--help"]):
        assert Train.default(arguments).config == PRESETS["baseline"]()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values["optimise"].update(speed=3), "speed"),
        (lambda values: values.update(colour="red"), "colour"),
        (lambda values: values["optimise"].update(optimiser="lion"), "lion"),
        (lambda values: values["augment"].update(flip=3.0), r"flip must lie in 0\.\.1, got 3"),
        (lambda values: values["model"].update(type="VitConfig"), "VitConfig"),
        (lambda values: values["model"].pop("type"), "type"),
        (lambda values: values["sampler"].update(batch_size="many"), "many|batch_size"),
    ],
)
def test_a_file_of_another_version_is_refused_in_words(change, reason: str):
    values = to_dict(PRESETS["laptop"]())
    change(values)
    message = f"^run/last holds a configuration that this version of lookalike does not read.*: .*{reason}"
    with pytest.raises(ValueError, match=message) as caught:
        from_dict(values, where="run/last")
    assert "Error" not in str(caught.value) and "\n" not in str(caught.value)


def test_differences_are_named():
    config = PRESETS["mgn"]()
    other = replace(config, augment=AugmentConfig(pad=3), losses=replace(config.losses, margin=PerOrigin(real=0.1, rendered=0.1, generated=0.2)))  # fmt: skip
    assert differences(config, other) == [
        "augment.pad: 3, not 0", "losses.margin.generated: 0.2, not 0.1",
    ]  # fmt: skip
    assert "model.type" in " ".join(differences(config, PRESETS["pcb"]()))


def test_what_cannot_be_trained():
    config = PRESETS["gp-r50"]()
    with pytest.raises(
        ValueError, match="give sampler.images-per-identity >= 2 .*, got None and 32; or losses.triplet-weight 0"
    ):
        replace(config, losses=replace(config.losses, triplet_weight=1.0))
    with pytest.raises(ValueError, match="makes two losses take turns: give both a weight above 0"):
        replace(config, optimise=replace(config.optimise, triplet_learning_rate=0.1))
    with pytest.raises(ValueError, match="needs seed >= 0 and checkpoint_every >= 1, got 0 and 0"):
        TrainConfig(checkpoint_every=0)


@pytest.mark.parametrize(("batch_size", "per"), [(8, 1), (4, 4)])
def test_a_batch_must_have_triplets(batch_size: int, per: int):
    sampler = SamplerConfig(batch_size=batch_size, images_per_identity=per)
    with pytest.raises(ValueError, match="a triplet needs two pictures of one person and one of another"):
        replace(PRESETS["baseline"](), sampler=sampler)
    assert replace(PRESETS["gp-r50"](), sampler=sampler).sampler == sampler


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "2.00 GiB. Smaller batches",
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "Fewer data.num-workers"),
        (RuntimeError("shapes do not match"), None),
    ],
)
def test_errors_of_memory_say_what_to_do(raised: RuntimeError, told: str | None):
    with pytest.raises(RuntimeError if told is None else ValueError, match=told), told_plainly():
        raise raised
