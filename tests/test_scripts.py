"""The scripts as a user meets them: set-up, demo and its page, tests, and what the checkout holds."""

import base64
import html
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from reid.journal import read_metrics
from shards.schema import MEMBERS
from shards.table import Table

ROOT = Path(__file__).parents[1]
SCRIPTS = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]
TOP_LEVEL = set("pyproject.toml README.md LICENSE BENCHMARKS.md synth generative reid shards tests scripts".split())

PYTHON = """#!/usr/bin/env bash
# Stands for Python: makes an environment and installs into it in name only; everything else is the real thing.
case "$*" in
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip --version") ;;
  "-m pip install"*) printf '%s\\n' "$*" >>pip.log; exit "${PIP_EXIT:-0}" ;;
  *) exec "REAL" "$@" ;;
esac
"""
OLD_PYTHON = """#!/usr/bin/env bash
# Stands for a Python that takes itself for 3.10.
if [ "$1" = --version ]; then echo "Python 3.10.2"; exit; fi
exec "REAL" -c "import sys; sys.version_info = (3, 10, 2, 'final', 0); exec(sys.argv[1])" "$2"
"""
INSPECT = """
<script>addEventListener("load", () => {
  const painted = (e) => !e || !/, 0\\)$/.test(getComputedStyle(e).backgroundColor)
  const ground = (e) => e ? (painted(e) ? getComputedStyle(e).backgroundColor : ground(e.parentElement)) : "none"
  const hasText = (e) => [...e.childNodes].some((n) => n.nodeType == 3 && n.data.trim())
  document.title = JSON.stringify({
    pictures: [...document.images].map((i) => [i.alt, i.naturalWidth, i.naturalHeight,
      i.width, i.height, +i.getAttribute("width"), +i.getAttribute("height")]),
    texts: [...document.body.querySelectorAll("*")].filter((e) => e.tagName != "SCRIPT" && hasText(e))
      .map((e) => [e.textContent.slice(0, 40), getComputedStyle(e).color, ground(e)]),
    overflow: document.documentElement.scrollWidth - innerWidth,
  })
})</script>
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def checkout(folder: Path, *parts: str) -> Path:
    """A copy of parts of this checkout."""
    folder.mkdir()
    for part in (*parts, "scripts", "pyproject.toml"):
        source, copy = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    return folder


def run(script: Path, *arguments: str, python: str = PYTHON, **extra: str) -> subprocess.CompletedProcess:
    """Run a script of a copied checkout from a folder elsewhere; `python` stands for every Python in PATH."""
    root, bin_folder = script.parents[1], script.parents[1].with_suffix(".bin")
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        executable(bin_folder / name, python.replace("REAL", sys.executable))
    path = os.pathsep.join([str(bin_folder), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "PYTHON": "", **extra}
    environment.pop("NUMBA_CACHE_DIR", None)  # the checkout keeps its own
    return subprocess.run(
        [str(script), *arguments], cwd=root.parent, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which `scripts/demo.sh` has run, but for the installation, with two thirds of the people and an epoch of
    each training. Not to be changed."""
    root = checkout(tmp_path_factory.mktemp("demo") / "checkout", "shards", "synth", "reid", "generative")
    script = root / "scripts" / "demo.sh"
    text = re.sub(
        r"--num-identities (\d+)", lambda told: f"--num-identities {2 * int(told[1]) // 3}", script.read_text()
    )
    script.write_text(re.sub(r"--optimise.epochs \d+", "--optimise.epochs 1", text))
    result = run(script)
    assert result.returncode == 0, result.stdout + result.stderr
    return root


@pytest.fixture(scope="session")
def whole_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which `scripts/demo.sh` has run as it is, but for the installation. Not to be changed."""
    root = checkout(tmp_path_factory.mktemp("whole") / "checkout", "shards", "synth", "reid", "generative")
    result = run(root / "scripts" / "demo.sh")
    assert result.returncode == 0, result.stdout + result.stderr
    return root


@pytest.fixture(scope="session")
def page(demo: Path) -> Path:
    return demo / "out" / "demo" / "report.html"


@pytest.fixture(scope="session")
def generative_page(demo: Path) -> Path:
    return demo / "out" / "demo" / "generative.html"


def as_module(name: str):
    """`scripts/NAME.py` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def report():
    return as_module("demo_report")


@pytest.fixture(scope="session")
def generative_report():
    return as_module("demo_generative")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_can_be_run(script: Path):
    result = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert os.access(script, os.X_OK)


def test_setup_installs_once_and_again_when_something_changed(tmp_path: Path):
    root = checkout(tmp_path / "checkout")

    def installs(*arguments: str, **extra: str) -> tuple[int, int]:
        result = run(root / "scripts" / "setup.sh", *arguments, **extra)
        return result.returncode, (root / "pip.log").read_text().count("\n")

    assert installs(PIP_EXIT="1") == (1, 1)  # cut short: no marker, so the next run installs
    assert installs() == (0, 2)
    assert installs() == (0, 2)
    assert installs("dev") == (0, 3)
    assert installs("dev") == (0, 3)
    assert (root / "pip.log").read_text().splitlines()[-1].endswith("--editable .[dev]")
    with open(root / "pyproject.toml", "a") as file:
        file.write("# changed\n")
    assert installs("dev") == (0, 4)
    assert installs() == (0, 4)  # the larger installation serves the smaller one
    root = root.rename(tmp_path / "moved")
    assert installs() == (0, 5)
    (root / ".venv" / "bin" / "python").unlink()  # as after an upgrade of the Python it was made from
    assert run(root / "scripts" / "setup.sh").returncode == 0
    assert os.access(root / ".venv" / "bin" / "python", os.X_OK)


def test_setup_without_a_fitting_python_says_so(tmp_path: Path):
    root = checkout(tmp_path / "checkout")
    result = run(root / "scripts" / "setup.sh", python=OLD_PYTHON)
    assert result.returncode == 1
    assert result.stderr.startswith("error: Python >= 3.11 is needed, found: ")
    assert "python3.12 (Python 3.10.2)" in result.stderr
    assert not (root / ".venv").exists()
    named = run(root / "scripts" / "setup.sh", PYTHON=str(tmp_path / "no interpreter"))
    assert f"{tmp_path / 'no interpreter'} (none)" in named.stderr


def test_tests_get_their_arguments_and_give_their_exit_code(tmp_path: Path):
    root = checkout(tmp_path / "checkout")
    for body, code, alone in (("True", 0, ()), ("False", 1, ("-n", "0")), ("True", 0, ("-p", "no:xdist"))):
        (root / "test_one.py").write_text(f"def test_one():\n    assert {body}\n")
        result = run(root / "scripts" / "test.sh", "test_one.py", "-k", "one", *alone)
        assert result.returncode == code, result.stdout + result.stderr
        assert ("workers [1 item]" in result.stdout or "worker [1 item]" in result.stdout) == (not alone)
        assert re.fullmatch(r"=+ 1 (passed|failed) in .+ =+", result.stdout.splitlines()[-1])


@pytest.mark.parametrize("user", ["0", "1000"])
def test_ci_installs_what_is_missing_then_tests(tmp_path: Path, user: str):
    root = checkout(tmp_path / "checkout", ".ci")
    executable(root / "scripts" / "test.sh", '#!/bin/sh\necho "tested $*"\nexit 3\n')
    tools = tmp_path / "checkout.bin"
    executable(tools / "dpkg-query", '#!/bin/sh\n[ "$3" = chromium ] && exit 1\necho "install ok installed"\n')
    executable(tools / "apt-get", '#!/bin/sh\necho "$*" >>apt.log\n')
    executable(tools / "id", f"#!/bin/sh\necho {user}\n")
    executable(tools / "sudo", '#!/bin/sh\necho sudo >>apt.log\nshift\nexec "$@"\n')
    result = run(root / ".ci" / "run", "-q", CI="true")
    assert (result.returncode, result.stdout) == (3, "tested -q\n")
    lines = (root / "apt.log").read_text().splitlines()
    assert [line for line in lines if line != "sudo"] == ["update -qq", "install -qq --no-install-recommends chromium"]
    assert lines.count("sudo") == (0 if user == "0" else 2)


def checkout_files() -> set[str]:
    """Every file of this checkout that git tracks or would track."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to it is not known")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in names if (ROOT / name).exists()}


def test_top_level_holds_what_it_should():
    found = {name.split("/")[0] for name in checkout_files() if not name.startswith(".")}
    assert found == TOP_LEVEL


def test_readme_names_every_file():
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Files\n")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall("`(.+?)`", row)]
    folders = tuple(name for name in named if name.endswith("/"))
    assert folders == ("tests/",)  # other folders are named file by file
    listed = sorted(name for name in named if name not in folders)
    own = ("shards/", "synth/", "reid/", "generative/", "scripts/", ".ci/", *folders)
    assert listed == sorted(name for name in checkout_files() if name.startswith(own) and not name.startswith(folders))


def test_pictures_that_are_shown_are_there():
    told = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "BENCHMARKS.md"))
    shown = re.findall(r"!\[.+?\]\((.+?)\)", told)
    kept = sorted((ROOT / ".readme").iterdir())
    assert sorted(shown) == [str(path.relative_to(ROOT)) for path in kept]
    assert sum(path.stat().st_size for path in kept) < 300_000


def test_the_stages_of_the_benchmark_are_called(monkeypatch: pytest.MonkeyPatch):
    """A function that the engine no longer calls by the name given would count as no time."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    bench = importlib.import_module("bench_stages")
    figures = bench.stages(2, rounds=1)
    assert {figure.name.strip() for figure in figures} > {*bench.STAGES.values()}
    assert [figure.name for figure in figures if not figure.low > 0] == []


def test_live_batches_are_measured_stage_by_stage(monkeypatch: pytest.MonkeyPatch):
    """On the CPU, as far as that goes: the figures are said to be no GPU's, and held to no target."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    bench = importlib.import_module("bench_device")
    monkeypatch.setattr(bench, "LOOKS", 2)
    monkeypatch.setitem(bench.COPY_BYTES, "cpu", 1 << 20)
    figures = {figure.name.strip(): figure for figure in bench.live_stages("cpu", 4, (64, 32), rounds=1)}
    for stage in (*bench.CORE, "background, shadow", "sensor", "aligned picture"):
        time_ms, moved = figures[stage], figures[f"{stage}: bytes it must move"]
        limit_ms = moved.median / figures["memory bandwidth of a large copy"].median
        assert figures[f"{stage}: over its memory-traffic limit"].median == pytest.approx(time_ms.median / limit_ms)
    total = sum(figures[stage].median for stage in bench.CORE)
    core = figures["body, raster, shade, labels, on the device"]
    assert core.median == pytest.approx(4e3 / total) and core.target is None
    assert "not of a GPU" in bench.device_hardware("cpu")["gpu"]


def test_the_benchmark_of_packing_measures_itself_and_its_peers(tmp_path: Path):
    command = [sys.executable, ROOT / "scripts" / "bench_pack.py", "--pictures", "30", "--rounds", "1", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    results = {one["name"].strip(): one["median"] for one in json.loads(result.stdout)["results"]}
    rates = {name: value for name, value in results.items() if not name.startswith("pack over")}
    assert min(results.values()) > 0
    ratio = rates["pack, one core, listing apart"] / rates["peer: tarfile"]
    assert results["pack over tarfile"] == pytest.approx(ratio)
    assert list(tmp_path.iterdir()) == []


def measure_reid(*only: str) -> list[dict]:
    """Figures of `scripts/bench_reid.py` at sizes that show no speed."""
    command = [sys.executable, ROOT / "scripts" / "bench_reid.py", "--small", "--rounds", "1", "--steps", "1", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    result = subprocess.run([*command, "--only", *only], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["results"]


def test_the_benchmark_of_reid_measures_itself_and_its_peers():
    figures = measure_reid("ranking", "reranking", "loading")
    # At these sizes scoring takes no memory that could be told from none.
    assert [one["name"] for one in figures if not one["low"] > 0 and "memory beyond" not in one["name"]] == []
    assert len([one for one in figures if one["name"].startswith("peer")]) == 4


@pytest.mark.slow
def test_the_benchmark_of_training_measures_a_plain_loop_too():
    names = [figure["name"] for figure in measure_reid("training") if figure["low"] > 0]
    assert names[0].startswith("training resnet18") and any(name.startswith("peer: plain loop") for name in names)


@pytest.mark.slow
def test_the_benchmark_of_methods_measures_every_preset_beside_its_baseline():
    names = [figure["name"] for figure in measure_reid("methods") if figure["low"] > 0]
    compared = {name for name in names if " over " in name}
    assert compared == {f"{name} over {beside}" for name, beside in COMPARED.items()}


@pytest.mark.slow
def test_the_benchmark_of_generation_measures_labels_pictures_and_players():
    command = [sys.executable, ROOT / "scripts" / "bench_generative.py", "--small", "--rounds", "1", "--steps", "1"]
    options = ["--json", "--num-images", "4", "--batch-size", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    result = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)["results"]
    told = [figure["name"] for figure in figures if figure["low"] > 0]
    assert [name.partition(",")[0] for name in told if not name.startswith(" ")] == [
        *(f"annotate {label}" for label in ("texture", "iuv", "parts", "keypoints")),
        "augment",
        *["GAN step"] * 4,
    ]
    assert len([name for name in told if "with guider" in name]) == 2 and told.count("  memory, at most") == 4


COMPARED = {
    "san-basic": "baseline", "san": "baseline", "dsa": "baseline", "dsa-two-branches": "baseline", "gp-ps": "gp-r50",
    "pcb-ps": "pcb", "mgn-ps": "mgn",
}  # fmt: skip


RUNS = ("texture", "keypoints", "style", "guider", "transfer", "judge", "run")
SETS = ("pit", "market", "street", "real", "real-texture", "real-labelled", "market-restyled", "generated")


def test_demo_makes_what_it_names(demo: Path):
    out = demo / "out" / "demo"
    assert {path.name for path in out.iterdir()} == {
        *RUNS, *SETS, "street-folders", "sheet.png", "person.glb", "texture.html", "texture.json", "keypoints.html", "keypoints.json",
        "transfer.json", "report.html", "generative.html", "reid.html", "commands.txt",
    }  # fmt: skip
    commands = (out / "commands.txt").read_text().splitlines()
    assert [" ".join(line.split()[:4]) for line in commands[:2]] == ["python -m synth pit", "python -m shards verify"]
    assert len(Table(out / "pit")) == 60
    assert (out / "person.glb").read_bytes()[:4] == b"glTF"
    _, scores = read_metrics(out / "run")
    assert set(scores[-1]["scores"]) == {"out/demo/real-labelled", "out/demo/market-restyled"}
    for place, last in scores[-1]["scores"].items():
        assert last["num_queries"] == (Table(demo / place).splits == "query").sum()
        assert f"{last['mean_ap']:.1%}" in (out / "reid.html").read_text()


def test_demo_goes_the_way_of_a_real_set(demo: Path):
    """Each set is made of the one before it, and nothing of what the renderer knows reaches the real layout."""
    out = demo / "out" / "demo"
    tables = {name: Table(out / name) for name in SETS}
    real, labelled, generated = (tables[name] for name in ("real", "real-labelled", "generated"))
    assert set(real.manifest.totals()["members"]) == {"image.jpg", "meta.json"}
    assert all(real.read(i, ("meta",))["meta"].keypoints is None for i in range(len(real)))
    assert labelled.keys.tolist() == real.keys.tolist()
    meta = labelled[0].meta
    assert set(meta.annotators) == {"texture", "keypoints"} and meta.origin == "real"
    to_train_on = (real.splits == "train").sum()
    assert len(generated) == 2 * to_train_on and set(generated.origins) == {"generated"}
    assert set(generated.identities) == set(real.identities[real.splits == "train"])
    assert set(generated[0].meta.generated) >= {"source_key", "pose_key", "model_hash"}
    restyled, market = tables["market-restyled"], tables["market"]
    i = int(np.flatnonzero(market.identities == max(market.identities.tolist()))[0])
    assert restyled.read_members(i, ("iuv.png",)) == market.read_members(i, ("iuv.png",))
    data = json.loads((out / "run" / "config.json").read_text())["data"]
    assert [data[origin] for origin in ("real", "rendered", "generated")] == [
        ["out/demo/real-labelled"], ["out/demo/market-restyled"], ["out/demo/generated"]
    ]  # fmt: skip


@pytest.mark.slow
def test_what_the_demo_trains_has_learned_something(whole_demo: Path):
    out = whole_demo / "out" / "demo"
    steps, _ = read_metrics(out / "run")
    assert steps[-1]["identity"] < 0.8 * steps[0]["identity"]
    texture, keypoints = (
        json.loads((out / f"{label}.json").read_text())["out/demo/street"]["scores"]
        for label in ("texture", "keypoints")
    )
    assert texture["trained"]["l1"] < min(texture[floor]["l1"] for floor in ("untrained", "mean"))
    assert keypoints["trained"]["pck"] > max(keypoints[floor]["pck"] for floor in ("untrained", "mean"))
    transfer = json.loads((out / "transfer.json").read_text())["scores"]
    assert transfer["generated"]["l1"] < transfer["copy"]["l1"]


@pytest.mark.slow  # starts every command again
def test_demo_again_goes_on_where_it_stopped(demo: Path, tmp_path: Path):
    root = Path(shutil.copytree(demo, tmp_path / "checkout", copy_function=shutil.copy2))
    out = root / "out" / "demo"
    shards = sorted((out / "pit").glob("*.tar"))
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in shards]
    kept = [*(out / name / "last.safetensors" for name in RUNS), *(out / name / "manifest.json" for name in SETS[1:])]
    times = [path.stat().st_mtime_ns for path in kept]
    commands = (out / "commands.txt").read_text()
    shards[1].unlink()
    result = run(root / "scripts" / "demo.sh")
    assert result.returncode == 0, result.stdout + result.stderr
    after = [(path.read_bytes(), path.stat().st_mtime_ns) for path in shards]
    assert [data for data, _ in after] == [data for data, _ in before]
    assert [old == new for (_, old), (_, new) in zip(before, after, strict=True)] == [True, False, True]
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert (out / "commands.txt").read_text() == commands


class Page(HTMLParser):
    """Tags of a page, each with its attributes."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def pictures_of(page: Path) -> list[dict[str, str]]:
    """The attributes of a page's pictures; the page must stand alone."""
    tags = Page(page).tags
    addresses = [values[name] for _, values in tags for name in ("src", "href", "srcset") if name in values]
    assert [address[:40] for address in addresses if not address.startswith("data:")] == []
    assert {tag for tag, _ in tags} & {"script", "iframe", "object", "embed", "video"} == set()
    assert re.findall(r"url\(|@import", page.read_text()) == []
    pictures = [values for tag, values in tags if tag == "img"]
    assert all(len(values["alt"]) > 10 for values in pictures)
    return pictures


def test_report_stands_alone(page: Path):
    pictures = pictures_of(page)
    shown = 6 * 6 + 1 + 10 + 60  # six people with six pictures, one outfit on ten, all samples
    assert shown + 6 + 6 * 4 < len(pictures) <= shown + 6 + 6 * 10  # frames, and six people before several cameras


def test_generative_page_shows_every_step(generative_page: Path, demo: Path):
    pictures = pictures_of(generative_page)
    shown = 8 * 5 + 12 * 2 + 12 + 12 * 3  # annotated, in two looks, the look wanted, person and pose and what was drawn
    assert (
        shown + 6 * (2 + 4) < len(pictures) <= shown + 6 * (4 + 8)
    )  # and six people, as they were and as they were drawn
    text, out = html.unescape(generative_page.read_text()), demo / "out" / "demo"
    for label in ("texture", "keypoints"):
        for scores in json.loads((out / f"{label}.json").read_text())["out/demo/street"]["scores"].values():
            assert all(f"{score:.4f}" in text for score in scores.values() if score is not None)
    transfer = json.loads((out / "transfer.json").read_text())["scores"]["generated"]
    assert all(f"{score:.4f}" in text for score in transfer.values() if score is not None)
    for name in ("guider", "judge", "run"):
        scores = read_metrics(out / name)[1][-1]["scores"]["out/demo/real-labelled"]
        assert f"{scores['mean_ap']:.1%}" in text and f"{scores['cmc'][0]:.1%}" in text
    *before, last = (out / "commands.txt").read_text().splitlines()
    assert last.startswith("python scripts/demo_report.py") and all(command in text for command in before)


def test_the_truth_beside_a_label_is_that_of_the_same_person(demo: Path, generative_report):
    out = demo / "out" / "demo"
    street, labelled = Table(out / "street"), Table(out / "real-labelled")
    numbers = json.loads((out / "street-folders" / "numbers.json").read_text())["identities"]
    truths = generative_report.same_pictures(labelled, street)
    assert sorted(truths) == list(range(len(street)))
    for i, truth in enumerate(truths):
        if street.identities[truth] in numbers:
            assert labelled.identities[i] == f"street/{numbers[street.identities[truth]]:04d}"


def test_a_pose_has_the_shape_of_its_picture(demo: Path, generative_report):
    """A joint stands where it stands in the picture."""
    values = Table(demo / "out" / "demo" / "generated").read(0, ("image", "meta"))
    drawn = generative_report.skeleton(values)
    assert drawn.shape == values["image"].shape
    seen = [(x, y) for x, y, v in values["meta"].keypoints[5:] if v > 0]
    rows, columns = np.nonzero(drawn.any(2))
    assert all(np.hypot(columns + 0.5 - x, rows + 0.5 - y).min() < 4 for x, y in seen)


def test_report_shows_the_set(page: Path, demo: Path):
    table, text = Table(demo / "out" / "demo" / "pit"), html.unescape(page.read_text())
    shown = {values["src"] for tag, values in Page(page).tags if tag == "img"}
    for i in range(len(table)):
        data = base64.b64encode(table.read_members(i, ("image.jpg",))["image.jpg"]).decode()
        assert f"data:image/jpeg;base64,{data}" in shown
    for entry in table.manifest.shards:
        assert entry.sha256 in text
    for licence in table.manifest.licences:
        assert licence in text
    for command in (demo / "out" / "demo" / "commands.txt").read_text().splitlines():
        assert command in text
    assert all(member.values in text for field, member in MEMBERS.items() if field != "parts")


def test_report_shows_people_before_several_cameras(page: Path, demo: Path):
    table, text = Table(demo / "out" / "demo" / "market"), html.unescape(page.read_text())
    queries = sorted({name for name, split in zip(table.identities, table.splits, strict=True) if split == "query"})
    assert all(name in text for name in queries[:6])
    assert f"{len(table):,} crops, {(table.splits == 'train').sum()} train" in text
    frames = sorted((demo / "out" / "demo" / "market" / "frames" / "images").glob("*.jpg"))
    assert base64.b64encode(frames[0].read_bytes()).decode() in text


def browse(page: Path, folder: Path, *, dark: bool, width: int) -> tuple[dict, list[str]]:
    """What INSPECT finds on a page in headless Chromium, and the lines that it wrote to the console."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        assert "CI" not in os.environ, "chromium is needed: .ci/run installs it"
        pytest.skip("chromium is not installed")
    copy = folder / "page.html"
    copy.write_text(page.read_text(encoding="utf-8") + INSPECT, encoding="utf-8")
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
        "--v=0", f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=10000",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", copy.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    title = re.search(r"<title>(.*?)</title>", result.stdout, re.DOTALL).group(1)
    return json.loads(html.unescape(title)), [line for line in result.stderr.splitlines() if "CONSOLE" in line]


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, 0..1. Source: WCAG 2.2."""
    srgb = np.array([int(x) for x in re.findall(r"\d+", colour)[:3]]) / 255
    return float(np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def check_shown(found: dict, *, dark: bool) -> None:
    """What `browse` found: pictures as large as the page says, nothing beyond its edge, texts that can be read."""
    for alt, width_px, height_px, shown_width, shown_height, *told in found["pictures"]:
        assert min(width_px, height_px, shown_width, shown_height) > 16, alt
        assert told == [width_px, height_px], alt
        assert shown_width / shown_height == pytest.approx(width_px / height_px, rel=0.05), alt
    assert found["overflow"] <= 0
    assert (luminance(found["texts"][0][2]) < 0.1) == dark
    for text, ink, paper in found["texts"]:
        low, high = sorted((luminance(ink), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, text


@pytest.mark.parametrize("name", ["report", "generative"])
@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 1200), (False, 500)])
def test_report_in_a_browser(demo: Path, tmp_path: Path, name: str, dark: bool, width: int):
    found, console = browse(demo / "out" / "demo" / f"{name}.html", tmp_path, dark=dark, width=width)
    assert console == []
    assert len(found["pictures"]) > 100
    check_shown(found, dark=dark)


def test_a_broken_page_is_noticed(tmp_path: Path):
    bad = tmp_path / "bad.html"
    bad.write_text('<p>text</p><img src="data:image/png;base64,AAAA" alt="none"><script>nonsense()</script>')
    found, console = browse(bad, tmp_path, dark=False, width=800)
    assert found["pictures"][0][1] == 0
    assert "nonsense is not defined" in console[0]


def test_a_damaged_set_gives_no_report(demo: Path, tmp_path: Path):
    folder = Path(shutil.copytree(demo / "out" / "demo" / "pit", tmp_path / "pit"))
    shard = sorted(folder.glob("*.tar"))[1]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1  # behind the last sample, so that only the hash tells
    shard.write_bytes(data)
    command = [sys.executable, str(ROOT / "scripts" / "demo_report.py"), str(folder), "--out", str(tmp_path / "r.html")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert shard.name in result.stderr
    assert not (tmp_path / "r.html").exists()


def test_headings_and_places_agree_with_the_cameras(demo: Path, report):
    table, seen = Table(demo / "out" / "demo" / "pit"), set()
    for i in range(len(table)):
        meta = table.read(i, ("meta",))["meta"]
        world_to_camera = np.array(meta.rendered["world_to_camera"])
        yaw_rad = meta.rendered["yaw_rad"]
        facing = world_to_camera[:3, :3] @ [math.sin(yaw_rad), 0, math.cos(yaw_rad)]  # x right, z away from the camera
        heading = report.heading(meta)
        seen.add(heading)
        side = {"to the right": facing[0], "to the left": -facing[0], "towards the camera": -facing[2]}
        assert side.get(heading, facing[2]) > 0.4
        height_m, distance_m = report.camera_place(meta)
        centre = world_to_camera @ [0, height_m, 0, 1]
        assert np.linalg.norm(centre[:3]) == pytest.approx(distance_m, rel=1e-4)
        assert 1.5 < height_m < 6
    assert seen == set(report.HEADINGS)


def test_bars_count_keypoints_and_parts(demo: Path, report):
    table = Table(demo / "out" / "demo" / "pit")
    samples = [table[i] for i in range(8)]
    bars = report.visibility_bars([sample.meta for sample in samples])
    ankle = bars[15]
    seen = sum(sample.meta.keypoints[15][2] == 2 for sample in samples)
    assert (ankle.label, ankle.shares[0]) == ("left ankle", seen / 8)
    assert all(sum(bar.shares) == pytest.approx(1) for bar in bars)
    parts = report.part_bars([sample.iuv for sample in samples])
    head = sum(np.isin(sample.iuv[..., 0], (23, 24)).sum() for sample in samples)
    body = sum((sample.iuv[..., 0] > 0).sum() for sample in samples)
    assert (parts[0].label, parts[0].value) == ("head", f"{head / body:.0%}")
