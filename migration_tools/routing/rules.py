"""Rules that send chosen readers to a side whatever the share: by method, path, header, cookie or cohort; pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

READING = ("GET", "HEAD", "OPTIONS")
COHORT_COOKIE = "sx_cohort"
_TOKEN = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_COOKIE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_VALUE = re.compile(r"[A-Za-z0-9_.:@/+=-]{1,128}")
# Of the characters that a path may have, those that every data plane's configuration takes as they are.
PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:@/-]*")
KEYS = ("side", "methods", "path", "headers", "cookies", "cohort")


@dataclass(frozen=True, kw_only=True)
class ReadRule:
    """Readers whose request has everything that is named here are answered by `side`.

    `path` is a prefix of whole segments; header names are lower case; `cohort` is the value of the cookie `sx_cohort`.
    """

    side: Literal["old", "new"]
    methods: tuple[str, ...] = ()
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    cohort: str = ""

    def all_cookies(self) -> dict[str, str]:
        """The cookies asked for, the cohort's among them."""
        return {**self.cookies, **({COHORT_COOKIE: self.cohort} if self.cohort else {})}

    def matches(self, method: str, path: str, headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
        """Whether a request is meant; `headers` by lower-case name."""
        return (
            method in (self.methods or READING)
            and (not self.path or path == self.path or path.startswith(f"{self.path}/"))
            and all(headers.get(name) == value for name, value in self.headers.items())
            and all(cookies.get(name) == value for name, value in self.all_cookies().items())
        )

    def document(self) -> dict[str, Any]:
        """As JSON values, without what is not asked for."""
        found = {**asdict(self), "methods": list(self.methods)}
        return {name: value for name, value in found.items() if value}

    def __str__(self) -> str:
        asked = [
            *([f"method {'|'.join(self.methods)}"] if self.methods else []),
            *([f"path {self.path}"] if self.path else []),
            *(f"header {name}={value}" for name, value in self.headers.items()),
            *(f"cookie {name}={value}" for name, value in self.cookies.items()),
            *([f"cohort {self.cohort}"] if self.cohort else []),
        ]
        return f"{', '.join(asked)} -> {self.side}"


def parse_rules(documents: object) -> tuple[ReadRule, ...]:
    """Read rules that have no mistakes."""
    return tuple(
        ReadRule(**{**rule, "methods": tuple(rule.get("methods", ())), "path": rule.get("path", "").rstrip("/")})
        for rule in (documents if isinstance(documents, list | tuple) else ())
    )


def rule_mistakes(documents: object, paths: object) -> Iterator[str]:
    """Everything wrong with the rules of a route over these paths, in sentences."""
    if not isinstance(documents, list | tuple):
        yield f"rules is {documents!r}; it must be a list"
        return
    for number, rule in enumerate(documents, 1):
        where = f"rule {number}"
        if not isinstance(rule, Mapping):
            yield f"{where} is {rule!r}; it must be an object with 'side'"
            continue
        unknown = [key for key in rule if key not in KEYS]
        yield from (f"{where} has an unknown key {key!r}; known keys are {list(KEYS)}" for key in unknown)
        yield from (f"{where}: {text}" for text in _one(rule))
        inside = [p for p in paths if isinstance(p, str)] if isinstance(paths, list | tuple) else []
        path = rule.get("path")
        if path and not any(f"{path}/".startswith(f"{p.rstrip('/')}/") for p in inside):
            yield f"{where}: the path {path!r} is under none of the route's paths {inside}, so it never matches"


def _one(rule: Mapping[str, Any]) -> Iterator[str]:
    if rule.get("side") not in ("old", "new"):
        yield f"side is {rule.get('side')!r}; it must be 'old' or 'new'"
    if not any(rule.get(key) for key in KEYS[1:]):
        yield "it asks for nothing, so it would take every reader; set the share instead"
    for method in rule.get("methods", ()):
        if method not in READING:
            yield f"the method {method!r} may write, and writes go to the owner; rules are for {', '.join(READING)}"
    path = rule.get("path", "")
    if path and (not isinstance(path, str) or not PATH.fullmatch(path) or _never_matches(path)):
        yield f"the path {path!r} is not usable; write a plain prefix such as '/api/orders/search'"
    for key, pattern in (("headers", _TOKEN), ("cookies", _COOKIE)):
        pairs = rule.get(key, {})
        if not isinstance(pairs, Mapping):
            yield f"{key} is {pairs!r}; it must be an object of names and values"
            continue
        for name, value in pairs.items():
            if not pattern.fullmatch(str(name)):
                yield f"the name {name!r} in {key} is not usable; write it as it is sent, headers in lower case"
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                yield f"the value {value!r} of {name!r} is not usable; write plain letters, digits and ._:@/+=-"
    if rule.get("cohort") and not _VALUE.fullmatch(str(rule["cohort"])):
        yield f"the cohort {rule['cohort']!r} is not usable; write a plain name"


def _never_matches(path: str) -> bool:
    """The proxy brings paths to one spelling before it looks at them."""
    return "//" in path or bool({".", ".."} & set(path.split("/")))
