"""The catalogue's clerk, who plants and moves categories and changes attributes of products; and the audit of both."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from demo.audit import Findings
from demo.oscar.audit import Connection
from demo.oscar.forms import filled_in
from demo.oscar.pages import Pages
from demo.oscar.people import CLERK, PASSWORD, PRODUCTS, Person, Shop

ROOTS = ("Books", "Games")
BASE = "/dashboard/catalogue/categories/"
PRODUCT = "/dashboard/catalogue/products/"
STEPLEN = 4
"""Characters of a step in a materialised path."""


class Assorter(Person):
    """Makes a category under one root, and later moves it below the other under another name; counts pages anew."""

    def __init__(self, shop: Shop, name: str) -> None:
        super().__init__(shop, name)
        self._made: list[tuple[str, str]] = []

    def visit(self, pages: Pages, email: str) -> None:
        pages.page("login page", "/accounts/login/")
        fields = {"login-username": CLERK, "login-password": PASSWORD, "login_submit": "Log In"}
        pages.submit("log in", "/accounts/login/", wanted="Log ?out", **fields)
        while not self.shop.stopping.wait(self.choices.uniform(0.4, 0.9)):
            name = f"Shelf {self.choices.getrandbits(48):x}"
            parent = self._key(pages, self.choices.choice(ROOTS))
            self._write(pages, f"{BASE}create/", "created", "shelf", name, parent)
            self._made.append((name, self._key(pages, name)))
            if len(self._made) > 2:
                old, key = self._made.pop(self.choices.randrange(len(self._made)))
                parent = self._key(pages, self.choices.choice(ROOTS))
                self._write(pages, f"{BASE}{key}/update/", "updated", "reshelf", f"{old} moved", parent, old=old)
            self._count_pages(pages, self.choices.randrange(len(PRODUCTS)) + 1)

    def _count_pages(self, pages: Pages, product: int) -> None:
        """Change an attribute of a product in the form that oscar shows, which saves all of them anew."""
        path = f"{PRODUCT}{product}/"
        fields = filled_in(pages.page("staff's product", path), "attr_pages")
        if not fields:
            pages.complain("staff's product", "a form with attributes", "there is none")
        facts = {"product": str(product), "pages": str(self.choices.randrange(1, 10_000))}
        intent = self.shop.ledger.intent("pages", **facts)
        fields |= {"attr_pages": [facts["pages"]], "action": ["continue"]}
        pages.submit("change attributes", path, wanted="Updated product", **fields)
        self.shop.ledger.acknowledge(intent)
        self.shop.clock.acknowledged()

    def _key(self, pages: Pages, name: str) -> str:
        page = pages.page("search categories", f"{BASE}?name={name.replace(' ', '+')}")
        found = re.search(rf"{BASE}(\d+)/update/", page)
        if not found:
            pages.complain("search categories", name, page[-500:])
        return found.group(1)  # type: ignore[union-attr]

    def _write(self, pages: Pages, path: str, said: str, operation: str, name: str, parent: str, **facts: str) -> None:
        intent = self.shop.ledger.intent(operation, name=name, parent=parent, **facts)
        fields = {"name": name, "treebeard_position": "first-child", "treebeard_ref_node": parent, "is_public": "on"}
        pages.submit(operation, path, wanted=f"Category {said} successfully", **fields)
        self.shop.ledger.acknowledge(intent)
        self.shop.clock.acknowledged()


def audit_pages(entries: Iterable[dict[str, Any]], owner: Connection) -> Findings:
    """Each product has as many pages as was acknowledged last; one whose answer is missing has either."""
    findings, waiting = Findings(), {}
    acknowledged: dict[str, str] = {}
    for entry in entries:
        if entry["kind"] == "intent":
            waiting[entry["number"]] = entry
        elif (intent := waiting.pop(entry["number"]))["operation"] == "pages":
            acknowledged[intent["product"]] = intent["pages"]
    unsure = {(each["product"], each["pages"]) for each in waiting.values() if each["operation"] == "pages"}
    query = """SELECT v.product_id::text, v.value_integer::text FROM catalogue_productattributevalue v
               JOIN catalogue_productattribute a ON a.id = v.attribute_id WHERE a.code = 'pages'"""
    there = Counter(owner.execute(query).fetchall())
    for product, pages in acknowledged.items():
        findings.checked["attributes"] += 1
        found = [value for (key, value), count in there.items() for _ in range(count) if key == product]
        if len(found) > 1:
            findings.duplicated.append(f"product {product} has its pages {len(found)} times")
        elif found != [pages] and not {(product, value) for value in found} & unsure:
            findings.lost.append(f"product {product} has {found} pages, acknowledged were {pages}")
    return findings


def audit_tree(entries: Iterable[dict[str, Any]], owner: Connection) -> Findings:
    """Each acknowledged category is there once, under its last name and parent, and the tree is one."""
    findings, waiting = Findings(), {}
    shelves: dict[str, str] = {}
    for entry in entries:
        if entry["kind"] == "intent":
            waiting[entry["number"]] = entry
            continue
        intent = waiting.pop(entry["number"])
        if intent["operation"] == "reshelf":
            shelves.pop(intent["old"])
        if intent["operation"] in ("shelf", "reshelf"):
            shelves[intent["name"]] = intent["parent"]
    unsure = {each.get(key) for each in waiting.values() for key in ("name", "old")}
    rows = owner.execute("SELECT id::text, name, path, depth, numchild FROM catalogue_category").fetchall()
    keys = {path: key for key, _, path, _, _ in rows}
    there = Counter(name for _, name, *_ in rows)
    parents = {name: keys.get(path[:-STEPLEN], "") for _, name, path, *_ in rows}
    for name, parent in shelves.items():
        findings.checked["categories"] += 1
        if there[name] != 1:
            (findings.duplicated if there[name] else findings.lost).append(f"category {name!r}: {there[name]} times")
        elif parents[name] != parent:
            findings.lost.append(f"category {name!r} is below {parents[name]}, acknowledged was {parent}")
    known = shelves.keys() | unsure
    findings.resurrected += [f"category {name!r}" for name in there if name.startswith("Shelf ") and name not in known]
    children = Counter(path[:-STEPLEN] for _, _, path, *_ in rows)
    for key, name, path, depth, numchild in rows:
        if len(path) != STEPLEN * depth or numchild != children[path] or (depth > 1 and path[:-STEPLEN] not in keys):
            findings.wrong.append(f"category {key} {name!r} at {path} of depth {depth} says {numchild} children")
    return findings
