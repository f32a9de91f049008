"""The packages import each other in one direction, and importing one only defines things."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "shards": set(),
    "synth": {"shards"},
    "reid": {"shards"},
    "generative": {"reid", "shards"},
}
"""Package -> the project's own packages that it may import."""
OWN = {*ALLOWED, "tests", "scripts"}

WATCH = """
import importlib, json, os, sys

written, connected = [], []
own, caches = json.loads(sys.argv[1]), sys.argv[2]


def watch(event, args):
    if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(args[0])
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.symlink"):
        written.append(str(args[0]))
    elif event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        connected.append(repr(args))


sys.addaudithook(watch)
for name in own:
    importlib.import_module(name)
ours = [path for path in written if path != os.devnull and not os.path.abspath(path).startswith(caches)]
print(json.dumps({"written": ours, "connected": connected, "modules": sorted(sys.modules)}))
"""
"""Imports the modules of argument 1 (JSON) and tells what they wrote outside the folder of argument 2, or called."""


def modules(package: str) -> list[str]:
    """Names of all modules of a package of this checkout, `__main__` too."""
    names = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def forbidden_imports(root: Path, package: str) -> list[str]:
    """`FILE:LINE imports NAME` for every import in root/package, at any depth, of a package that it may not import."""
    found = []
    for path in sorted((root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in imported(node):
                top = name.partition(".")[0]
                if top in OWN - ALLOWED[package] - {package}:
                    found.append(f"{path.relative_to(root)}:{node.lineno} imports {name}")
    return found


def imported(node: ast.AST) -> list[str]:
    """Names of the modules that a statement imports, `importlib.import_module("name")` among them."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            return [module]
    return []


def python(*arguments: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess:
    """Run this interpreter in `cwd` with this checkout's packages."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **extra}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str):
    assert forbidden_imports(ROOT, package) == []


@pytest.mark.parametrize(
    ("package", "line", "is_forbidden"),
    [
        ("shards", "import synth", True),
        ("shards", "from synth.body import load_body", True),
        ("shards", "import shards.codec", False),
        ("shards", "import synthetic", False),
        ("shards", "def f():\n    import reid.train", True),
        ("shards", "import importlib\nimportlib.import_module('generative.transfer.augment')", True),
        ("synth", "from shards.codec import encode_png", False),
        ("synth", "import reid", True),
        ("synth", "from tests.shards import tiny_sets", True),
        ("reid", "import synth", True),
        ("reid", "import generative", True),
        ("generative", "import reid, shards", False),
        ("generative", "import shards, synth.labels", True),
    ],
)
def test_a_wrong_direction_is_found(tmp_path: Path, package: str, line: str, is_forbidden: bool):
    (tmp_path / package).mkdir()
    (tmp_path / package / "stage.py").write_text(line + "\n")
    assert bool(forbidden_imports(tmp_path, package)) == is_forbidden


@pytest.mark.parametrize("package", [package for package in ALLOWED if modules(package)])
def test_importing_writes_nothing_and_calls_nobody(package: str, tmp_path: Path):
    caches, cwd = tmp_path / "caches", tmp_path / "cwd"
    caches.mkdir()
    cwd.mkdir()
    # Temporary files too: libraries try whether they can write there, and torch makes a folder for compiled graphs.
    places = {name: caches for name in ("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TMPDIR")}
    places["NUMBA_CACHE_DIR"] = caches / "numba"
    places["TORCHINDUCTOR_CACHE_DIR"] = caches  # which torch sets for all child processes once it is used
    result = python(
        "-c", WATCH, json.dumps(modules(package)), str(caches), cwd=cwd, **{k: str(v) for k, v in places.items()}
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["written"] == []
    assert found["connected"] == []
    assert result.stdout.count("\n") == 1, "importing must print nothing"
    assert [path for path in caches.rglob("*.nb?")] == [], "importing must compile no kernel"
    assert list(cwd.iterdir()) == []
    assert set(modules(package)) <= set(found["modules"])


def test_shards_comes_without_torch(tmp_path: Path):
    code = "import shards, shards.schema, shards.table, shards.__main__, sys; print('torch' in sys.modules)"
    assert python("-c", code, cwd=tmp_path).stdout == "False\n"


@pytest.mark.parametrize(
    ("package", "commands"),
    [("shards", ("pack", "info", "verify", "sheet", "unpack")), ("synth", ("pit", "preview", "export-person"))],
)
def test_every_command_line_explains_itself(package: str, commands: tuple[str, ...], tmp_path: Path):
    """As `python -m` runs them, but in one process: torch takes seconds to import."""
    code = (
        "import runpy, sys\n"
        "package, *commands = sys.argv[1:]\n"
        "for name in ([], *([command] for command in commands)):\n"
        "    sys.argv = [package, *name, '--help']\n"
        "    try:\n"
        "        runpy.run_module(package, run_name='__main__')\n"
        "    except SystemExit as stop:\n"
        "        print('exit code', stop.code)\n"
    )
    result = python("-c", code, package, *commands, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    answers = result.stdout.split("exit code 0\n")
    assert len(answers) == len(commands) + 2 and answers.pop() == ""
    for name, usage in zip(("", *(f"{command} " for command in commands)), answers, strict=True):
        assert usage.startswith(f"usage: python -m {package} {name}")


@pytest.mark.parametrize(
    ("package", "commands"),
    [
        ("reid", ("train", "evaluate", "embed", "score", "search", "report", "export")),
        ("generative", ("train", "annotate", "evaluate", "poses", "augment", "restyle", "score")),
    ],
)
def test_every_command_line_with_presets_explains_itself(package: str, commands: tuple[str, ...], tmp_path: Path):
    """In one process: torch takes seconds to import."""
    code = (
        "import contextlib, importlib, sys\n"
        "package, *commands = sys.argv[1:]\n"
        "cli = importlib.import_module(f'{package}.cli').cli\n"
        "for name in ([], *([name] for name in commands)):\n"
        "    sys.argv = [package, *name, '--help']\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        cli()\n"
    )
    result = python("-c", code, package, *commands, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    usages = [line.split()[3:] for line in result.stdout.splitlines() if line.startswith("usage: ")]
    assert usages[0] == [package, "[-h]", "{" + ",".join(commands) + "}"]
    assert [usage[:2] for usage in usages[1:]] == [[package, command] for command in commands]


def test_embeddings_are_scored_without_what_networks_need(tmp_path: Path):
    code = (
        "import atexit, sys\n"
        "from reid.cli import cli\n"
        "sys.argv = ['reid', 'score', '--help']\n"
        "atexit.register(lambda: print({'torchvision', 'accelerate', 'kornia', 'onnx'} & {*sys.modules}))\n"
        "cli()\n"
    )
    assert python("-c", code, cwd=tmp_path).stdout.splitlines()[-1] == "set()"
