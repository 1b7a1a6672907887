"""What the overview's templates need: small lines, shares, durations that may be missing, numbers as SVG wants them."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from mails.templatetags.mercury import moment, printable
from mercury.console import account_page
from mercury.console.account_page import AccountFigures, LastCalls
from mercury.console.charts import Picture
from mercury.lib import durations
from mercury.lib.chart_geometry import Spark
from providers.health.breaker import Snapshot
from providers.models import Account

register = template.Library()


@register.inclusion_tag("admin/_spark.html", name="spark")
def spark_tag(spark: Spark) -> dict[str, Any]:
    """A small line without axes."""
    return {"spark": spark}


@register.simple_tag
def lasted(seconds: float | str | None) -> str:
    """Seconds in words; a dash where there is no figure."""
    return durations.format_duration(seconds) if isinstance(seconds, float | int) else "–"


@register.simple_tag
def tone_of(picture: Picture, series: str) -> str:
    """The class of a series of a chart."""
    return next(f"tone-{one.tone}" for one in picture.legend if one.series == series)


@register.simple_tag
def bars(picture: Picture) -> SafeString:
    """The columns of a chart. Some hundreds of parts: a loop in the template takes ten times as long."""
    tones = {one.series: f"tone-{one.tone}" for one in picture.legend}
    return format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"></rect>',
        ((tones[bar.series], *map(plain, (bar.x, bar.y, bar.width, bar.height))) for bar in picture.chart.bars),
    )


@register.simple_tag
def figures_of(account: Account, breaker: Snapshot) -> AccountFigures:
    """What the page of an account tells of its calls. Its view does not know that mails exist, so the page asks."""
    return account_page.read(account, breaker)


@register.simple_tag
def call_bars(last: LastCalls) -> SafeString:
    """The columns of the last calls, each with its mark and with its words as a tooltip."""
    return format_html_join(
        "",
        '<g class="tone-{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="2"></rect>'
        '<text class="x" x="{}" y="{}">{}</text></g>',
        (
            (
                call.look.tone,
                printable(call.title),
                *map(plain, (bar.x, bar.y, bar.width, bar.height, call.x, call.y - 4)),
                call.look.mark,
            )
            for bar, call in zip(last.chart.bars, last.calls, strict=True)
        ),
    )


@register.simple_tag
def rows(picture: Picture) -> SafeString:
    """The rows of the table behind a chart, for the same reason not a loop in the template."""
    cells = '<td class="number">{}</td>' * len(picture.heads)
    return format_html_join(
        "",
        f'<tr><th scope="row" class="nowrap">{{}}</th>{cells}</tr>',
        ((moment(start, "day"), *values) for start, values in picture.rows),
    )


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
