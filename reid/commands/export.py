"""Export a finished run as ONNX: `python -m reid export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reid.checkpoint import Which, load_run
from reid.export import export_onnx
from shards.console import write_json, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """Write a run's network as ONNX, without what only training needs, checked against PyTorch."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m reid train`."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL.onnx")]
    """File to write: input "images" (B, 3, H, W), normalised as its metadata say; output "embeddings" (B, D)."""
    checkpoint: Which | None = None
    """By default the best, where there is one."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        run = load_run(self.folder, self.checkpoint)
        size, evaluate = run.config.input, run.config.evaluate
        about = {
            "source": str(self.folder),
            "resize": "x".join(map(str, size.stored)),
            "flip": "sum of unit embeddings of picture and mirror image" if evaluate.flip else "none",
            "metric": evaluate.metric,
        }
        num_trained = sum(parameter.numel() for parameter in run.model.parameters())
        num_kept = export_onnx(run.model.strip(), self.out, height=size.height, width=size.width, metadata=about)
        if self.json:
            result = {"out": str(self.out), "num_parameters": num_kept, "num_parameters_in_training": num_trained}
            write_json({**result, "height": size.height, "width": size.width})
        else:
            write_text(
                f"{self.out}: images of {size.height}x{size.width}, {num_kept:,} of {num_trained:,} parameters, embeddings "
                "as PyTorch's"
            )
        return 0
