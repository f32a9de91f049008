"""MATLAB files that say who is who: versions 5 to 7, through scipy."""

from collections.abc import Collection
from pathlib import Path

import numpy as np


def read_matlab(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Variable -> array, as `scipy.io.loadmat` gives it; names: those to read, all by default.

    Raises FileNotFoundError, and ValueError where the file is none of MATLAB's or has not all of `names`.
    """
    from scipy.io import loadmat  # takes half a second, which other layouts need not wait
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise FileNotFoundError(f"no {path}: it says who is train, query and gallery")
    try:
        values = loadmat(path, variable_names=None if names is None else list(names))
    except (MatReadError, ValueError, TypeError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path} must be a MATLAB file of version 5 to 7: {error}") from error
    if missing := [name for name in names or () if name not in values]:
        raise ValueError(f"{path} has no {', '.join(missing)}: it is another file than the layout's")
    return {name: value for name, value in values.items() if not name.startswith("__")}
