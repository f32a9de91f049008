"""`python -m generative train PRESET`, or `accelerate launch -m generative train PRESET` for several GPUs."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from accelerate import PartialState

from generative.annotators.config import AnnotatorTrainConfig
from generative.presets import PRESETS
from generative.style.config import StyleConfig
from generative.style.train import train as train_style
from generative.transfer.config import TransferConfig
from generative.transfer.train import train as train_transfer
from reid.cli import chosen_preset
from reid.train import train
from shards.console import write_json, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """Train a network on shards that have what it learns. `train PRESET --help` shows a preset's settings."""

    preset: Annotated[Literal[tuple(PRESETS)], tyro.conf.Positional]  # type: ignore[valid-type]
    """What to learn, and settings to start from; every one can be given anew."""
    data: tuple[str, ...]
    """Folders or URLs of shards to learn from; of style, those whose look is to change."""
    out: Path
    """Folder for checkpoints, metrics and TensorBoard logs."""
    config: Annotated[AnnotatorTrainConfig | TransferConfig | StyleConfig, tyro.conf.arg(name="")]
    resume: bool = False
    """Go on with the run in that folder, exactly where it stopped."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        if not self.data:
            raise ValueError("nothing to learn from: name at least one folder or URL of shards under --data")
        config = self.config.with_sets(self.data)
        match config:
            case TransferConfig():
                state, user = train_transfer(config, self.out, resume=self.resume), "augment"
            case StyleConfig():
                state, user = train_style(config, self.out, resume=self.resume), "restyle"
            case AnnotatorTrainConfig():
                state, user = train(config, self.out, resume=self.resume), "annotate"
        if not PartialState().is_main_process:
            return 0
        if self.json:
            write_json({"out": str(self.out), "steps": state.total_steps})
        else:
            write_text(f"{state.total_steps:,} steps: {self.out}; use it with `python -m generative {user} {self.out}`")
        return 0

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self:
        """With the settings of the preset that the arguments begin with. Raises ValueError where they begin otherwise."""
        preset = chosen_preset(arguments, PRESETS) or "texture"
        return cls(preset=tyro.MISSING, data=tyro.MISSING, out=tyro.MISSING, config=PRESETS[preset]())

    @classmethod
    def description(cls, arguments: Sequence[str]) -> str:
        """What `--help` says: of the preset that the arguments begin with, or of all."""
        chosen = chosen_preset(arguments, PRESETS)
        if chosen is not None:
            return inspect.getdoc(PRESETS[chosen]) or ""
        lines = [f"{name}: {(inspect.getdoc(preset) or '').splitlines()[0]}" for name, preset in PRESETS.items()]
        return "\n\n".join([cls.__doc__ or "", *lines])
