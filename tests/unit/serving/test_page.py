"""The pages of a served model: the same for every model, nothing from elsewhere, and nothing of a model in them."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from fuseline import lines
from fuseline.serving import page

MARKUP = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc")


class Parts(HTMLParser):
    """What a page carries in itself, and what it points to."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.inside: dict[str, list[str]] = {"style": [], "script": []}
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.title = ""
        self._open = ""
        self.feed(text.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if tag in self.inside and not any(name == "src" for name, _ in attrs):
            self.inside[tag].append("")

    def handle_data(self, data: str) -> None:
        if self.inside.get(self._open):
            self.inside[self._open][-1] += data
        elif self._open == "title":
            self.title += data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def directives(policy: str) -> dict[str, set[str]]:
    return {name: set(rest) for name, *rest in (part.split() for part in policy.split(";"))}


@pytest.mark.parametrize(
    ("made", "policy"), [(page.shell("bookings"), page.policy()), (page.docs(), page.docs_policy())]
)
def test_the_policy_lets_exactly_the_styles_and_scripts_of_the_page_run(made, policy):
    parts, rules = Parts(made), directives(policy)
    for kind in ("style", "script"):
        assert parts.inside[kind]
        assert rules[f"{kind}-src"] - {"'self'"} == {digest(text) for text in parts.inside[kind]}
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == {"'none'"}
    assert rules["connect-src"] == {"'self'"}


@pytest.mark.parametrize("made", [page.shell("bookings"), page.docs()])
def test_all_addresses_are_relative(made):
    places = [address for address in Parts(made).addresses if not address.startswith("data:image/")]
    assert places
    assert all(address.startswith(("./", "#")) for address in places)


@pytest.mark.parametrize("made", [page.shell("bookings"), page.docs()])
def test_no_attribute_holds_style_or_script_which_the_policy_would_not_let_run(made):
    assert not {name for name in Parts(made).attributes if name == "style" or name.startswith("on")}


@pytest.mark.parametrize("policy", [page.policy(), page.docs_policy(), page.own_policy()])
def test_no_policy_lets_anything_in_from_elsewhere(policy):
    assert "*" not in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert all("unsafe-inline" not in policy for policy in (page.policy(), page.docs_policy()))


@pytest.mark.parametrize("word", MARKUP)
def test_no_script_makes_markup_or_code_of_text(word):
    assert word not in "".join(Parts(page.shell()).inside["script"] + Parts(page.docs()).inside["script"])


def test_the_name_is_text():
    made = page.shell("<img src=x onerror=alert(1)>")
    assert b"<img" not in made
    assert Parts(made).title == "<img src=x onerror=alert(1)> · Fuseline"


def test_a_name_that_looks_like_a_place_of_the_page_stays_a_name():
    made = page.shell("{{ scripts }}")
    assert Parts(made).title == "{{ scripts }} · Fuseline"
    assert made.count(b"<script>") == page.shell("x").count(b"<script>")


def test_a_page_without_a_name_names_nothing():
    assert Parts(page.shell()).title == "Fuseline"


def test_the_document_finds_its_files_and_no_other_file_is_given_away():
    wanted = [a.removeprefix("./assets/") for a in Parts(page.docs()).addresses if a.startswith("./assets/")]
    found = {name: page.asset(name) for name in wanted}
    assert {name: asset[1] for name, asset in found.items() if asset} == {
        "swagger-ui.css": "text/css; charset=utf-8",
        "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    }
    assert all(asset and len(asset[0]) > 100_000 for asset in found.values())
    assert [page.asset(name) for name in ("", "index.html", "../__init__.py", "swagger-ui.js.map")] == [None] * 4


def _listed(script: str, name: str) -> tuple[str, ...]:
    """The texts of a list in a script."""
    found = re.search(rf"const {name} = \[(.*?)\];", script)
    assert found, f"there is no list {name}"
    return tuple(text.encode().decode("unicode_escape") for text in re.findall(r'"((?:[^"\\]|\\.)*)"', found[1]))


def test_files_are_read_in_the_page_as_in_a_batch():
    script = "".join(Parts(page.shell()).inside["script"])
    assert _listed(script, "NULLS") == lines.NULLS
    assert _listed(script, "DELIMITERS") == tuple(lines.DELIMITERS)


def test_the_pages_are_made_without_anything_heavy():
    code = (
        "import sys; from fuseline.serving import description, page; page.shell('x'); page.docs(); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jinja2", "pandas", "pyarrow", "numpy", "starlette", "swagger_ui_bundle"} & set(loaded)
