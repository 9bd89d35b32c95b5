"""System checks: settings and playbooks, each with the command or change that mends it."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks

from migration_tools.conf import find_mistakes, settings
from migration_tools.errors import PlaybookError, SettingsError, StrangleError

SHADOW_MIDDLEWARE = "migration_tools.routing.shadow.guard.ShadowMiddleware"
REQUIRED_APPS = ("migration_tools.messaging", "migration_tools.capture")


@checks.register("strangle")
def check_settings(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E001: a MIGRATION_TOOLS value cannot be used. E002: an application is missing from INSTALLED_APPS."""
    found: list[checks.CheckMessage] = [
        checks.Error(text, hint="see docs/reference/settings.md", id="strangle.E001")
        for text in find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {}))
    ]
    missing = [name for name in REQUIRED_APPS if name not in django_settings.INSTALLED_APPS]
    if missing:
        found.append(
            checks.Error(
                f"INSTALLED_APPS lacks {missing}",
                hint="use *migration_tools.MONOLITH_APPS in the monolith, *migration_tools.SERVICE_APPS in a service",
                id="strangle.E002",
            )
        )
    return found


@checks.register("strangle")
def check_playbooks(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E010: a playbook has mistakes that show without a database; every one is reported."""
    from migration_tools.playbook.registry import load
    from migration_tools.playbook.validation import find_static_mistakes

    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})):
        return []
    try:
        playbooks = load()
    except PlaybookError as error:
        hint = f"correct the playbook of {error.playbook!r}"
        return [checks.Error(text, hint=hint, id="strangle.E010", obj=error.playbook) for text in error.mistakes]
    except SettingsError as error:
        return [checks.Error(str(error), id="strangle.E010", hint="fix MIGRATION_TOOLS['PLAYBOOKS']")]
    operators_view = {alias for playbook in playbooks.values() for alias in (playbook.source, playbook.target)}
    absent = operators_view - set(django_settings.DATABASES)
    found: list[checks.CheckMessage] = []
    for context, playbook in playbooks.items():
        for text in find_static_mistakes(playbook):
            if any(f"database {alias!r} is not in settings" in text for alias in absent):
                # Web processes need not reach the target; commands that do will say so.
                continue
            found.append(
                checks.Error(text, hint=f"correct the playbook of {context!r}", id="strangle.E010", obj=playbook)
            )
    return found


@checks.register("strangle")
def check_shadow(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """W020: reads are to be shadowed, but this side would let a shadow read change something."""
    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})) or not settings().PROXY.get("SHADOW"):
        return []
    if SHADOW_MIDDLEWARE in django_settings.MIDDLEWARE[:1]:
        return []
    present = SHADOW_MIDDLEWARE in django_settings.MIDDLEWARE
    return [
        checks.Warning(
            f"MIGRATION_TOOLS['PROXY']['SHADOW'] is set, but {SHADOW_MIDDLEWARE!r} is "
            f"{'not the first of' if present else 'not in'} MIDDLEWARE",
            hint="put it first in MIDDLEWARE here and in every service; sides without it are not compared",
            id="strangle.W020",
        )
    ]


@checks.register("strangle")
def check_edge(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Settings of Django that do not fit the proxy or the way of identity; edge_settings names the checks."""
    from migration_tools.routing import edge_settings

    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})):
        return []
    kinds = {"E": checks.Error, "W": checks.Warning}
    return [
        kinds[mistake.id.rpartition(".")[2][0]](mistake.text, hint=mistake.hint, id=mistake.id)
        for mistake in edge_settings.find_mistakes()
    ]


@checks.register("strangle")
def check_contracts(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """W043: events are declared, but nothing here can hold a payload against its contract."""
    from migration_tools.contracts.declaration import contracts
    from migration_tools.contracts.validation import available

    if available() or not any(contracts()):
        return []
    return [
        checks.Warning(
            "events have contracts, but jsonschema-rs is not installed: payloads are published unchecked",
            hint="pip install 'django-strangler[contracts]'",
            id="strangle.W043",
        )
    ]


@checks.register("strangle")
def check_contexts(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """The context map cannot be used, or lacks something; context_file names the checks."""
    from migration_tools.analysis.context_file import find_map_mistakes, path_of_map, read_document

    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})) or _is_a_service():
        return []
    path = path_of_map()
    try:
        document = read_document(path)
    except StrangleError as error:
        hint = f"correct {path.name}; see docs/how-to/find-the-cut.md"
        return [checks.Error(str(error), hint=hint, id="strangle.E120")]
    hint = f"correct {path.name}; see docs/how-to/find-the-cut.md"
    return [
        checks.Error(each.text, hint=hint, id=each.id) for each in (find_map_mistakes(document) if document else ())
    ]


@checks.register("strangle")
def check_columns(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E172: a column that another context uses, as the guard's baseline has it, is in no model any more."""
    from migration_tools.analysis.baseline import Baseline, path_of_baseline
    from migration_tools.analysis.foreign_columns import removed

    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})) or _is_a_service():
        return []
    path = path_of_baseline()
    try:
        known = Baseline.read(path).columns
    except StrangleError as error:
        hint = "mend the file, or write it anew with strangle_guard baseline"
        return [checks.Error(str(error), hint=hint, id="strangle.E172")]
    hint = (
        "keep the column until that context does without it, or record a trace and take the removal in with "
        "strangle_guard baseline --accept"
    )
    return [checks.Error(f"{path.name}: nothing has {each}", hint=hint, id="strangle.E172") for each in removed(known)]


@checks.register("strangle")
def check_service_commands(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E174: SERVICE_COMMANDS names a database that is the monolith's, or that a context has a name for.

    W174: it names neither a context nor a database of this process, which sees the services of contexts.
    """
    from migration_tools.playbook.registry import bystanders, load

    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})):
        return []
    try:
        playbooks, names = load(), bystanders()
    except (PlaybookError, SettingsError):
        return []
    own = {settings().DATABASE, *(playbook.source for playbook in playbooks.values())}
    contexts = {playbook.target: context for context, playbook in playbooks.items()}
    found: list[checks.CheckMessage] = []
    for name in names:
        what = f"MIGRATION_TOOLS['SERVICE_COMMANDS'] names {name!r}"
        if name in own:
            hint = "name contexts, and databases of services that no playbook names"
            found.append(checks.Error(f"{what}, a database of the monolith", hint=hint, id="strangle.E174"))
        elif name in contexts:
            hint = f"write {contexts[name]!r}"
            text = f"{what}, the database of context {contexts[name]!r}"
            found.append(checks.Error(text, hint=hint, id="strangle.E174"))
        elif name not in django_settings.DATABASES and contexts.keys() & set(django_settings.DATABASES):
            # A web process sees no service's database, and so cannot tell.
            text = f"{what}, which is neither a context nor in DATABASES of this process: it is shown, and never seen"
            hint = "correct the name, or add the service's database where strangle_operate runs"
            found.append(checks.Warning(text, hint=hint, id="strangle.W174"))
    return found


@checks.register("strangle")
def check_extras(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E140: the console is installed, but django-htmx is not.

    W140: `METRICS_TOKEN` is set, but prometheus-client is not installed.
    """
    found: list[checks.CheckMessage] = []
    if apps.is_installed("migration_tools.console") and find_spec("django_htmx") is None:
        found.append(
            checks.Error(
                "'migration_tools.console' is in INSTALLED_APPS, but django-htmx, whose script it serves, is missing",
                hint="pip install 'django-strangler[console]'",
                id="strangle.E140",
            )
        )
    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})):
        return found
    if settings().METRICS_TOKEN and find_spec("prometheus_client") is None:
        found.append(
            checks.Warning(
                "MIGRATION_TOOLS['METRICS_TOKEN'] is set, but prometheus-client is missing: the metrics answer 501",
                hint="pip install 'django-strangler[prometheus]'",
                id="strangle.W140",
            )
        )
    return found


@checks.register("strangle")
def check_sessions(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E171: sessions are to be found in Redis too, and their cache is none."""
    if django_settings.SESSION_ENGINE != "migration_tools.sessions.bridge":
        return []
    from migration_tools.sessions.redis_side import RedisSessions

    try:
        RedisSessions()
    except SettingsError as error:
        return [checks.Error(str(error), hint="see docs/how-to/move-sessions.md", id="strangle.E171")]
    return []


@checks.register("strangle", deploy=True)
def check_deployment(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """W001: a feed token is short or missing."""
    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})):
        return []
    return [
        checks.Warning(
            f"the feed token of consumer {name!r} has fewer than 16 characters",
            hint="make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            id="strangle.W001",
        )
        for name, token in settings().FEED_TOKENS.items()
        if len(token) < 16
    ]


@checks.register(checks.Tags.database)
def check_poolers(
    app_configs: Sequence[Any] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """W170: a database is behind a pooler in transaction mode, and nothing says how the toolkit gets past it.

    A warning, because web processes may well be there, and `migrate` runs it too; relays and consumers refuse.
    """
    if not databases or find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})):
        return []
    if find_spec("psycopg") is None:
        return []
    from migration_tools.stores.postgres import connect

    found: list[checks.CheckMessage] = []
    for alias in {settings().DATABASE, *settings().DIRECT} & set(databases):
        try:
            connect(alias, "check").close()
        except StrangleError as error:
            if "transaction mode" in str(error):
                hint = f"set MIGRATION_TOOLS['DIRECT'][{alias!r}] to the server's own HOST and PORT where relays run"
                found.append(checks.Warning(str(error), hint=hint, id="strangle.W170"))
    return found


@checks.register(checks.Tags.database)
def check_live_playbooks(
    app_configs: Sequence[Any] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """W011: a playbook does not fit the live databases (run with `check --database default`).

    A warning, because `migrate` runs it too and may be what mends it; silent before the first migrate. The moves
    refuse.
    """
    if not databases:
        return []
    from migration_tools.playbook.compiled import compile_playbook
    from migration_tools.playbook.registry import load
    from migration_tools.stores.postgres import connect
    from migration_tools.stores.postgres.catalog import read_table

    found: list[checks.CheckMessage] = []
    for context, playbook in load().items():
        if not {playbook.source, playbook.target} & set(databases):
            continue
        try:
            with connect(playbook.source, "check") as source, connect(playbook.target, "check") as target:
                if read_table(source, "strangle_context") is not None:
                    compile_playbook(playbook, source, target)
        except PlaybookError as error:
            found += [
                checks.Warning(text, hint=f"correct the playbook of {context!r}", id="strangle.W011", obj=playbook)
                for text in error.mistakes
            ]
        except StrangleError as error:
            hint = "the checks of playbooks need both databases; start them, or leave --database out"
            found.append(checks.Warning(str(error), hint=hint, id="strangle.W011", obj=playbook))
    return found


def _is_a_service() -> bool:
    """Whether this is a service's process; where it runs may lie the monolith's map and baseline, which are not its."""
    return settings().SIDE != "monolith" and not apps.is_installed("migration_tools.state")
