"""The page itself: one HTML file with pictures inside, no scripts, nothing loaded from elsewhere."""

import json
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined

from reid.checkpoint import Run
from reid.config import flat
from reid.report.charts import Chart
from reid.report.section import Section
from shards.manifest import package_version

TEMPLATE = "page.html.jinja"


def render_page(run: Run, charts: Sequence[Chart], sections: Sequence[Section]) -> str:
    """The page as HTML. charts: of its history; sections: one for each set that it was scored on."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    config = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in sorted(flat(run.config).items())
    }
    return environment.from_string(template).render(
        name=run.folder.resolve().name,
        state=run.state,
        network=type(run.model).__name__,
        num_parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        num_kept=run.model.num_kept,
        trained_on=[
            (origin, place) for origin in ("real", "rendered", "generated", "pairs")
            for place in getattr(run.config.data, origin)
        ],
        charts=charts,
        sections=sections,
        config=config,
        version=package_version(),
    )  # fmt: skip
