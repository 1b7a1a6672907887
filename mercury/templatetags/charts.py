"""Tags and filters of the overview's templates: small lines, shares, durations that may be missing, numbers for SVG."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from mails.templatetags.mercury import moment, printable
from mercury.console import account_page
from mercury.console.account_page import AccountFigures, LastAttemptsChart
from mercury.console.charts import Picture
from mercury.lib import durations
from mercury.lib.chart_geometry import Spark
from providers.health.breaker import BreakerSnapshot
from providers.models import Account

register = template.Library()


@register.inclusion_tag("admin/_spark.html", name="spark")
def show_spark(spark: Spark) -> dict[str, Any]:
    """Show a small line without axes."""
    return {"spark": spark}


@register.simple_tag(name="lasted")
def format_seconds(seconds: float | str | None) -> str:
    """Return seconds in words, or a dash if there is no figure."""
    return durations.format_duration(seconds) if isinstance(seconds, float | int) else "–"


@register.simple_tag(name="tone_of")
def get_tone(picture: Picture, series: str) -> str:
    """Return the CSS class of a series of a chart."""
    return next(f"tone-{entry.tone}" for entry in picture.legend if entry.series == series)


@register.simple_tag(name="bars")
def draw_bars(picture: Picture) -> SafeString:
    """Draw the columns of a chart. It has hundreds of parts, and a loop in the template is ten times slower."""
    tones = {entry.series: f"tone-{entry.tone}" for entry in picture.legend}
    return format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"></rect>',
        (
            (tones[bar.series], *map(format_for_svg, (bar.x, bar.y, bar.width, bar.height)))
            for bar in picture.chart.bars
        ),
    )


@register.simple_tag(name="figures_of")
def load_figures(account: Account, breaker: BreakerSnapshot) -> AccountFigures:
    """Load the figures of an account. Its view belongs to providers, which knows no emails, so the template loads them."""
    return account_page.load_account_figures(account, breaker)


@register.simple_tag(name="attempt_bars")
def draw_attempt_bars(last: LastAttemptsChart) -> SafeString:
    """Draw the columns of the last attempts, each with its mark and a tooltip."""
    return format_html_join(
        "",
        '<g class="tone-{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="2"></rect>'
        '<text class="x" x="{}" y="{}">{}</text></g>',
        (
            (
                attempt.look.tone,
                printable(attempt.title),
                *map(format_for_svg, (bar.x, bar.y, bar.width, bar.height, attempt.x, attempt.y - 4)),
                attempt.look.mark,
            )
            for bar, attempt in zip(last.chart.bars, last.attempts, strict=True)
        ),
    )


@register.simple_tag(name="rows")
def write_rows(picture: Picture) -> SafeString:
    """Write the rows of the table behind a chart; again faster than a loop in the template."""
    cells = '<td class="number">{}</td>' * len(picture.heads)
    return format_html_join(
        "",
        f'<tr><th scope="row" class="nowrap">{{}}</th>{cells}</tr>',
        ((moment(start, "day"), *values) for start, values in picture.rows),
    )


@register.filter(name="percent")
def format_percent(share: float) -> str:
    """Return a share in percent."""
    return f"{share * 100:.0f} %"


@register.filter(name="total")
def sum_counts(counts: Mapping[str, int]) -> int:
    """Return the sum of counts by kind."""
    return sum(counts.values())


@register.filter(name="plain")
def format_for_svg(value: float) -> str:
    """Return a number with a decimal point, whatever the language."""
    return f"{value:g}"
