"""Numbers, times and curves as the console's pages write them."""

import datetime as dt
import json
import re
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import conditional_escape
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from migration_tools.console.assets import digest_of
from migration_tools.console.drawing import Series, share_bar, spark
from migration_tools.management.progress import duration

register = template.Library()
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


@register.filter
def thousands(value: Any) -> str:
    """1234567 as 1,234,567; a dash for nothing."""
    return "–" if value is None or value == "" else f"{value:,.0f}"  # noqa: RUF001  (a dash for nothing)


@register.filter
def seconds(value: Any) -> str:
    """A length of time as a person would say it; below ten seconds with a tenth."""
    if value is None or value == "":
        return "–"  # noqa: RUF001
    return f"{value:.1f} s" if value < 9.95 else duration(float(value))


@register.filter
def ago(value: Any) -> str:
    """How long since a time, given as such or in ISO form."""
    if not value:
        return "never"
    at = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{duration(max((timezone.now() - at).total_seconds(), 0))} ago"


@register.filter
def moment(value: Any) -> str:
    """A time to the second, in UTC."""
    if not value:
        return "–"  # noqa: RUF001
    at = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


@register.filter
def pretty(value: Any) -> str:
    """JSON over several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def words(value: str) -> str:
    """A name of the code as words."""
    return str(value).replace("_", " ")


@register.filter
def breakable(value: Any) -> SafeString:
    """A name that may be broken after its underscores, rather than anywhere, where there is little room."""
    return mark_safe(conditional_escape(value).replace("_", "_<wbr>"))  # noqa: S308  (escaped)


@register.filter
def unbroken(value: str) -> SafeString:
    """A sentence whose options (--so-called) no line break tears apart."""
    return mark_safe(OPTION.sub(r'<span class="option">\g<0></span>', conditional_escape(value)))  # noqa: S308  (escaped)


@register.filter
def about(letter: dict[str, Any], side: Any) -> str:
    """What an address says of a parked event beside its key or position: whose it is, and which was seen."""
    said = {"group": letter["group"], "event": letter["event_id"]}
    if side.service:
        said |= {"side": "service", "stream": letter["stream"]}
    return urlencode({name: value for name, value in said.items() if value})


@register.simple_tag
def sparkline(series: Series) -> SafeString:
    """See drawing.spark."""
    return spark(series)


@register.simple_tag
def bar(percent: float, label: str) -> SafeString:
    """See drawing.share_bar."""
    return share_bar(float(percent), label)


@register.simple_tag
def console_asset(name: str) -> str:
    """The address of a file of the console."""
    return reverse("strangle:console-asset", args=[digest_of(name), name])
