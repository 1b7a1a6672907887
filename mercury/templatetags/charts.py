"""What the overview's templates need: small lines, shares, durations that may be missing, numbers as SVG wants them."""

from collections.abc import Mapping
from typing import Any

from django import template

from mercury.lib import durations
from mercury.lib.charts import Spark
from mercury.overview import Picture

register = template.Library()


@register.inclusion_tag("admin/_spark.html", name="spark")
def spark_tag(spark: Spark) -> dict[str, Any]:
    """A small line without axes."""
    return {"spark": spark}


@register.simple_tag
def lasted(seconds: float | str | None) -> str:
    """Seconds in words; a dash where there is no figure."""
    return durations.words(seconds) if isinstance(seconds, float | int) else "–"


@register.simple_tag
def tone_of(picture: Picture, series: str) -> str:
    """The class of a series of a chart."""
    return next(f"tone-{one.tone}" for one in picture.legend if one.series == series)


@register.filter
def percent(share: float) -> str:
    """A share in percent."""
    return f"{share * 100:.0f} %"


@register.filter
def total(counts: Mapping[str, int]) -> int:
    """The sum of counts by kind."""
    return sum(counts.values())


@register.filter
def plain(value: float) -> str:
    """A number with a decimal point, whatever the language."""
    return f"{value:g}"
