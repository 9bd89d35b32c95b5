"""Which renderer makes which format of which kind of report."""

import json
from collections.abc import Callable
from typing import Any

from migration_tools.analysis import render_html as analysis_html
from migration_tools.analysis import render_junit as analysis_junit
from migration_tools.analysis import render_machine
from migration_tools.analysis import render_text as analysis_text
from migration_tools.reports import audit, cutover, render_html, render_junit, render_text
from migration_tools.reports.kinds import Format, Kind
from migration_tools.routing.shadow import render_html as shadow_html
from migration_tools.routing.shadow import render_junit as shadow_junit
from migration_tools.routing.shadow import render_text as shadow_text
from migration_tools.verification import render_html as verification_html
from migration_tools.verification import render_junit as verification_junit
from migration_tools.verification import render_markdown as verification_markdown
from migration_tools.verification import render_text as verification_text

REVEAL_NEEDS_REASON = "--reveal needs --reason: who shows values says why"

#: Gives the text; the second argument says whether values that the model holds may be shown.
Renderer = Callable[[Any, bool], str]


def _json(report: Any, reveal: bool) -> str:
    return json.dumps(report.to_json(reveal=reveal), ensure_ascii=False, indent=1) + "\n"


def _sheets(sheet_of: Callable[..., Any]) -> dict[Format, Renderer]:
    return {
        Format.TEXT: lambda report, reveal: render_text.render_text(sheet_of(report, reveal=reveal)),
        Format.JSON: _json,
        Format.MARKDOWN: lambda report, reveal: render_text.render_markdown(sheet_of(report, reveal=reveal)),
        Format.HTML: lambda report, reveal: render_html.render_html(sheet_of(report, reveal=reveal)),
        Format.JUNIT: lambda report, reveal: render_junit.render_junit(sheet_of(report, reveal=reveal)),
    }


#: An analysis holds names of tables, columns and files, and no value of a row: there is nothing to reveal.
RENDERERS: dict[Kind, dict[Format, Renderer]] = {
    Kind.ANALYZE: {
        Format.TEXT: lambda report, _: analysis_text.render_text(report),
        Format.JSON: lambda report, _: render_machine.render_json(report),
        Format.MARKDOWN: lambda report, _: analysis_text.render_markdown(report),
        Format.HTML: lambda report, _: analysis_html.render_html(report),
        Format.JUNIT: lambda report, _: analysis_junit.render_junit(report),
    },
    Kind.VERIFY: {
        Format.TEXT: lambda report, reveal: verification_text.render_text(report, reveal=reveal),
        Format.JSON: _json,
        Format.MARKDOWN: lambda report, reveal: verification_markdown.render_markdown(report, reveal=reveal),
        Format.HTML: lambda report, reveal: verification_html.render_html(report, reveal=reveal),
        Format.JUNIT: lambda report, reveal: verification_junit.render_junit(report, reveal=reveal),
    },
    Kind.SHADOW: {
        Format.TEXT: lambda report, reveal: shadow_text.render_text(report, reveal=reveal),
        Format.JSON: _json,
        Format.MARKDOWN: lambda report, reveal: shadow_text.render_markdown(report, reveal=reveal),
        Format.HTML: lambda report, reveal: shadow_html.render_html(report, reveal=reveal),
        Format.JUNIT: lambda report, _: shadow_junit.render_junit(report),
    },
    Kind.CUTOVER: _sheets(cutover.sheet_of),
    Kind.AUDIT: _sheets(audit.sheet_of),
}


def render(kind: Kind, report: Any, form: str, *, reveal: bool = False) -> str:
    """A report as text in one of the formats; redacted unless told otherwise."""
    return RENDERERS[kind][Format(form)](report, reveal)
