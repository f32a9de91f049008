"""OpenPifPaf, run in an environment of the user's own: it is under the AGPL, and never imported here."""

import hashlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from generative.poses.predictions import NAME, SUFFIX, best_person
from generative.poses.source import Picture, check_threshold
from shards.build import file_sha256
from shards.workers import THREAD_VARIABLES

_LAST_WORDS = 500
"""Characters of what a failed command wrote that are told."""
_OWN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", *THREAD_VARIABLES)
"""Of this process's environment: they say nothing of that one's packages, nor of how many threads it may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenPifPaf:
    """`openpifpaf.predict`, run on a shard's pictures at a time: a `PoseSource`."""

    python: Path
    """Interpreter of the environment that has openpifpaf."""
    checkpoint: str
    """A name that openpifpaf knows, or a file."""
    long_edge: int | None
    """Pixels that a picture's longer side is resized to; None: as it is."""
    threshold: float
    """A joint of less confidence is unknown."""
    hash: str
    name: str = NAME

    def find(self, pictures: Iterable[Picture]) -> Iterator[np.ndarray | None]:
        with _ends_tidily(), tempfile.TemporaryDirectory(prefix="lookalike-openpifpaf-") as name:
            folder, out = Path(name) / "pictures", Path(name) / "predictions"
            folder.mkdir()
            out.mkdir()
            keys = []
            for picture in pictures:
                (folder / f"{picture.key}.jpg").write_bytes(picture.jpeg)
                keys.append(picture.key)
            size = [] if self.long_edge is None else ["--long-edge", str(self.long_edge)]
            _predict(
                self.python,
                "--glob",
                f"{folder}/*.jpg",
                "--json-output",
                str(out),
                "--checkpoint",
                self.checkpoint,
                *size,
            )
            for key in keys:
                path = out / f"{key}.jpg{SUFFIX}"
                if not path.is_file():
                    raise ValueError(f"openpifpaf.predict wrote nothing about sample {key}, though it ended well")
                yield best_person(path, self.threshold)


def open_openpifpaf(python: Path, *, checkpoint: str, long_edge: int | None, threshold: float) -> OpenPifPaf:
    """Openpifpaf of the environment of an interpreter.

    Raises FileNotFoundError where there is no such interpreter, ValueError where it cannot run openpifpaf or for settings
    that are none.
    """
    check_threshold(threshold)
    if long_edge is not None and long_edge < 1:
        raise ValueError(f"long edge must be at least 1 pixel, got {long_edge}")
    version = _predict(python, "--version").strip()
    weights = file_sha256(Path(checkpoint)) if Path(checkpoint).is_file() else checkpoint
    settings = json.dumps([version, weights, long_edge, threshold])
    return OpenPifPaf(
        python=python,
        checkpoint=checkpoint,
        long_edge=long_edge,
        threshold=threshold,
        hash=hashlib.sha256(settings.encode()).hexdigest(),
    )


def _predict(python: Path, *arguments: str) -> str:
    """What `openpifpaf.predict` writes to stdout."""
    environment = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
    command = [str(python), "-m", "openpifpaf.predict", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise FileNotFoundError(f"cannot run {python}: {error.strerror}. Name the environment's interpreter") from error
    if done.returncode:
        words = done.stderr.strip()[-_LAST_WORDS:]
        raise ValueError(
            f"{python} -m openpifpaf.predict failed (exit code {done.returncode}): {words}\n"
            f"Where openpifpaf is missing: {python} -m pip install openpifpaf"
        )
    return done.stdout


@contextmanager
def _ends_tidily() -> Iterator[None]:
    """A process that is told to end would leave openpifpaf running and its pictures lying: let it clean up first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(signum: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + signum)
