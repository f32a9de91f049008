"""The page itself: one HTML file with pictures inside, no scripts, nothing loaded from elsewhere."""

import json
from collections.abc import Sequence

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from reid.checkpoint import Run
from reid.config import TrainConfig, flat
from reid.report.charts import Chart
from reid.report.section import Section
from shards.manifest import package_version

TEMPLATE = "page.html.jinja"


def page_environment(*places: tuple[str, str]) -> Environment:
    """Templates of pages in this style: `style.css.jinja` and `macros.html.jinja` of this package, and those of other places,
    (package, folder in it) each."""
    loaders = [PackageLoader(*place) for place in (("reid", "report"), *places)]
    return Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def told_config(config: TrainConfig) -> dict[str, str]:
    """Every field of a configuration by its dotted name, in words, sorted."""
    return {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in sorted(flat(config).items())
    }


def render_page(run: Run, charts: Sequence[Chart], sections: Sequence[Section]) -> str:
    """The page as HTML. charts: of its history; sections: one for each set that it was scored on."""
    return page_environment().get_template(TEMPLATE).render(
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
        config=told_config(run.config),
        version=package_version(),
    )  # fmt: skip
