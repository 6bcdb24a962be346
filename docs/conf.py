"""Sphinx's configuration: `sphinx-build -W docs build/docs`, with the extra `docs` installed.

The pages are plain Markdown, which a forge shows as well. What only Sphinx wants is made here: the
table of contents, out of index.md's lists, and pages of files that lie elsewhere.
"""

import ast
import posixpath
import pydoc
import re
from pathlib import Path
from typing import Any

import fastzip

ROOT = Path(__file__).resolve().parents[1]

project = "fastzip"
copyright = "the authors of fastzip"
version = release = fastzip.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
html_theme = "furo"
html_title = f"fastzip {release}"
nitpicky = True

myst_heading_anchors = 4  # links lead to headings, by the names that forges give them
autodoc_mock_imports = ["keras", "tensorflow", "torch"]
autodoc_typehints = "none"  # the docstrings say more
autodoc_member_order = "bysource"
default_role = "py:obj"  # `x` in a docstring is a parameter, or something that exists
numpydoc_show_class_members = False

OTHERS = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "README.md": "index",
    "bench/README.md": "benchmark",
}
"""Files outside of docs/, and the pages that show them."""


def read_page(app: Any, page: str, source: list[str]) -> None:
    """Sphinx has read a page's text: change it to what it is to take for it."""
    for file, shown in OTHERS.items():
        if shown == page != "index":
            source[0] = moved((ROOT / file).read_text(), posixpath.dirname(file))
            return
    source[0] = moved(source[0], "docs")
    if page == "index":
        source[0] += contents(source[0])


def moved(text: str, folder: str) -> str:
    """A file's text with its relative links turned into links between pages."""

    def link(match: re.Match[str]) -> str:
        target, anchor = match["target"], match["anchor"] or ""
        if ":" in target:
            return match[0]
        file = posixpath.normpath(posixpath.join(folder, target))
        if file in OTHERS:
            anchor = "" if file == "README.md" else anchor
            return f"[{match['text']}]({OTHERS[file]}.md{anchor})"
        if file.startswith("docs/"):
            return f"[{match['text']}]({file.removeprefix('docs/')}{anchor})"
        assert (ROOT / file).exists(), match[0]
        return match["text"]  # a file of the sources, which has no page

    return re.sub(r"\[(?P<text>[^]]+)\]\((?P<target>[^)#]+)(?P<anchor>#[^)]+)?\)", link, text)


def contents(index: str) -> str:
    """The table of contents: a part for each heading, with the pages that its list links to."""
    trees = []
    for part in index.split("\n## ")[1:]:
        pages = re.findall(r"^- \[[^]]+\]\(([\w-]+)\.md\)", part, re.MULTILINE)
        lines = ["```{toctree}", ":hidden:", f":caption: {part.splitlines()[0]}", "", *pages, "```"]
        trees.append("\n".join(lines))
    return "\n\n" + "\n\n".join(trees) + "\n"


def variables() -> set[str]:
    """The names of the parameters and attributes of the package."""
    names = set()
    for file in sorted((ROOT / "fastzip").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
    return names


VARIABLES = variables()


def resolve(app: Any, env: Any, node: Any, text: Any) -> Any:
    """Something in backticks has no page: is it a parameter, or of another project?"""
    name = node["reftarget"]
    if found := env.get_domain("py").resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"fastzip.{name}", node, text
    ):
        return found
    top = name.partition(".")[0]
    known = name in VARIABLES or top in autodoc_mock_imports or name in vars(fastzip)
    if known or (top != "fastzip" and pydoc.locate(name) is not None):
        return text
    return None


def setup(app: Any) -> None:
    app.connect("source-read", read_page)
    app.connect("missing-reference", resolve)
