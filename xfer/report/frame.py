"""The frame of a page: head, navigation, sections; style and script are part of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from xfer.report.markup import Markup, el


@dataclass(frozen=True, slots=True)
class Section:
    """title, also its name in the navigation; body: None leaves it out."""

    title: str
    body: Markup | None

    @property
    def anchor(self) -> str:
        return anchor(self.title)


def anchor(title: str) -> str:
    """The id of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def page(title: str, top: Markup, sections: Sequence[Section], foot: str) -> str:
    """A whole page: one file that needs no other. `top` is its first screen."""
    shown = [s for s in sections if s.body]
    links = (el("li", el("a", s.title, href=f"#{s.anchor}")) for s in shown)
    body = (
        el("section", el("h2", s.title, id=s.anchor), s.body, aria_labelledby=s.anchor)
        for s in shown
    )
    return (
        "<!doctype html>\n"
        + el(
            "html",
            el(
                "head",
                el("meta", charset="utf-8"),
                el("meta", name="viewport", content="width=device-width, initial-scale=1"),
                el("meta", name="color-scheme", content="light dark"),
                # whatever a name in a file might be, nothing is loaded and no other script runs
                el("meta", http_equiv="Content-Security-Policy",
                   content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
                   "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"),
                el("title", title),
                Markup(f"<style>{_own('page.css')}</style>"),
            ),
            el(
                "body",
                el("a", "Skip to the report", href="#report", class_="skip"),
                el("nav", el("p", "On this page", class_="nav-title"), el("ol", *links),
                   aria_label="Sections"),
                el("main", top, *body, el("footer", el("p", foot)), id="report", tabindex="-1"),
                Markup(f"<script>{_own('page.js')}</script>"),
            ),
            lang="en",
        )
        + "\n"
    )  # fmt: skip


def _own(name: str) -> str:
    return resources.files("xfer.report").joinpath(name).read_text(encoding="utf-8")


def links_of(sections: Sequence[Section]) -> dict[str, str]:
    """Title -> anchor of the sections that a page has."""
    return {s.title: s.anchor for s in sections if s.body}
