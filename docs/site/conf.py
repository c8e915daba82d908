"""How Sphinx makes the site, `make docs`: pages where they are, and nothing from the network.

The source is the root of the repository, so that links between pages, results and notebooks are
those that lead somewhere in a checkout too.
"""

from __future__ import annotations

import re
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml
from pygments.lexers.shell import BashLexer
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

import terralatent

HERE = Path(__file__).parent
PUBLIC = {
    f"terralatent.{room}.{name}": name
    for name, home in terralatent._HOMES.items()
    for room in (home, home.partition(".")[0])
}
"""By what other names docstrings refer to what the face offers."""

project = "terralatent"
author = "the terralatent authors"
copyright = "the terralatent authors, MIT"
release = metadata.version("terralatent")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/site/*.rst",
    "notebooks/*.ipynb",
    "benchmarks/*/RESULTS.md",
]

# Notebooks are shown as they were executed; their sources run in `make soak`.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, object] = {}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_type_aliases = {
    name: f"terralatent.pipeline.{home}.{name}"
    for name, home in {
        "Columns": "tables.columns",
        "CubeSource": "mapping.plan",
        "MaskingRequest": "cube.masking",
        "When": "dates",
    }.items()
}
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Returns", "Yields"]  # sentences, which may hold a colon

html_theme = "furo"
html_title = "terralatent"
html_static_path = ["static", str(files("ziamath") / "fonts")]
html_css_files = ["site.css"]
html_extra_path = ["root"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the table of contents to the README, where it would be no use outside the site."""
    if docname == root_doc:
        source[0] += (HERE / "contents.md").read_text()


def write_inline_math(writer: HTML5Translator, node: nodes.math) -> None:
    """Write mathematics as MathML, which browsers set by themselves: no script, no fonts."""
    writer.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def write_block_math(writer: HTML5Translator, node: nodes.math_block) -> None:
    """The same, on lines of its own."""
    mathml = latex2mathml.tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="math">{mathml}</div>\n')
    raise nodes.SkipNode


def name_publicly(
    app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    """Lead references to the module of a public name to its entry, which is that of the face."""
    homes = re.compile(rf"\b({'|'.join(map(re.escape, PUBLIC))})(?!\w|\.\w+\.)")
    lines[:] = [homes.sub(lambda home: f"terralatent.{PUBLIC[home[0]]}", line) for line in lines]


def refuse_dead_ends(app: Sphinx, env: object, node: nodes.Element, text: nodes.Node) -> None:
    """Warn where the docstring of a public name refers to something that has no entry.

    What `arguments` explains may refer further, to modules that are read in the source.
    """
    public = node["refdoc"] != "docs/site/arguments" and "docstring of" in str(node.source)
    if public and node["reftarget"].startswith("terralatent."):
        logging.getLogger(__name__).warning("no entry for %s", node["reftarget"], location=node)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_lexer("cron", BashLexer)
    app.add_html_math_renderer("mathml", (write_inline_math, None), (write_block_math, None))
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", name_publicly)
    app.connect("missing-reference", refuse_dead_ends)
