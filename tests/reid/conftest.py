"""`tiny_people`, `tiny_trainer` and the converters' `tiny_folders` are made importable for the tests, the first two for the
processes that they start too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "shards" / "convert"))
