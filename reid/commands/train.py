"""`python -m reid train PRESET`, or `accelerate launch -m reid train PRESET` for several GPUs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from accelerate import PartialState

from reid.cli import chosen_preset
from reid.config import TrainConfig
from reid.presets import PRESETS, describe
from reid.train import train
from shards.console import write_json, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """Train a network on shards of people with identities. `train PRESET --help` shows a preset's settings."""

    preset: Annotated[Literal[tuple(PRESETS)], tyro.conf.Positional]  # type: ignore[valid-type]
    """Settings to start from; every one can be given anew."""
    out: Path
    """Folder for checkpoints, metrics and TensorBoard logs."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    resume: bool = False
    """Go on with the run in that folder, exactly where it stopped."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        state = train(self.config, self.out, resume=self.resume)
        if not PartialState().is_main_process:
            return 0
        if self.json:
            write_json({"out": str(self.out), "steps": state.total_steps, "best_mean_ap": state.best_mean_ap})
        else:
            best = "" if state.best_mean_ap is None else f", best mAP {state.best_mean_ap:.1%}"
            write_text(f"{state.total_steps:,} steps{best}: {self.out}; see it with `python -m reid report {self.out}`")
        return 0

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self:
        """With the settings of the preset that the arguments begin with. Raises ValueError where they begin otherwise."""
        return cls(
            preset=tyro.MISSING, out=tyro.MISSING, config=PRESETS[chosen_preset(arguments, PRESETS) or "baseline"]()
        )

    @classmethod
    def description(cls, arguments: Sequence[str]) -> str:
        """What `--help` says: of the preset that the arguments begin with, or of all."""
        chosen = chosen_preset(arguments, PRESETS)
        if chosen is not None:
            return describe(chosen)
        lines = [f"{preset}: {describe(preset).splitlines()[0]}" for preset in PRESETS]
        return "\n\n".join([cls.__doc__ or "", *lines])
