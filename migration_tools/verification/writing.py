"""Writes a verification report to files, each of them whole or not at all."""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from migration_tools.errors import NotWritten
from migration_tools.reports.files import write_whole
from migration_tools.verification.render_html import render_html
from migration_tools.verification.render_junit import render_junit
from migration_tools.verification.render_markdown import render_markdown
from migration_tools.verification.render_text import render_text
from migration_tools.verification.report import VerificationReport


def write_report(
    report: VerificationReport,
    directory: Path,
    formats: Iterable[str] = ("json", "md", "html", "xml"),
    reveal: bool = False,
) -> dict[str, Path]:
    """Write the report in each format (json, md, html, txt, or xml as JUnit has it); name the file of each.

    The directory is made if need be. A report with revealed values can be read by its owner only.

    Raises:
        ValueError: A format is not known; nothing was written.
    """
    wanted = list(dict.fromkeys(formats))
    unknown = [name for name in wanted if name not in _RENDERERS]
    if unknown:
        raise ValueError(f"report format {unknown[0]!r} is not known; choose from {sorted(_RENDERERS)}")
    stem = _stem(report)
    written = {}
    for name in wanted:
        written[name] = directory / f"{stem}.{name}"
        write_whole(written[name], _RENDERERS[name](report, reveal), private=reveal and not report.redacted)
    return written


def write_or_tell(
    report: VerificationReport, directory: Path, remedy: str, *, reveal: bool = False
) -> tuple[dict[str, Path], str]:
    """Write the report, or say why it could not be; a comparison that took hours does not end by that.

    Returns:
        The files by format, none if one could not be written, and a sentence about them for the operator.
    """
    try:
        files = write_report(report, directory, reveal=reveal)
    except OSError as error:
        return {}, str(NotWritten("Its report", directory, error, remedy))
    return files, f"Report: {files['html']}"


def _json(report: VerificationReport, reveal: bool) -> str:
    return json.dumps(report.to_json(reveal=reveal), ensure_ascii=False, indent=1) + "\n"


_RENDERERS: dict[str, Callable[[VerificationReport, bool], str]] = {
    "json": _json,
    "md": lambda report, reveal: render_markdown(report, reveal=reveal),
    "html": lambda report, reveal: render_html(report, reveal=reveal),
    "xml": lambda report, reveal: render_junit(report, reveal=reveal),
    "txt": lambda report, reveal: render_text(report, reveal=reveal),
}


def _stem(report: VerificationReport) -> str:
    started = dt.datetime.fromtimestamp(report.started, tz=dt.UTC)
    context = re.sub(r"[^\w-]+", "_", report.context)
    return f"verify-{context}-{report.direction}-{started:%Y%m%dT%H%M%S}.{started.microsecond // 1000:03}Z"
