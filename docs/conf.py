"""How the documentation is built: ``pip install '.[docs]'``, then ``sphinx-build -W --keep-going docs docs/_build``.

Pages are Markdown. Every ``python`` block of a page is run when the documentation is built, in the order of the page, and what it
prints or draws is shown below it; one marked ``python hidden`` is run and not shown.
"""

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

import backprop

sys.path.insert(0, str(Path(__file__).parent))
import architecture_map
import drawings

project = "backprop"
release = backprop.__version__
author = copyright = "the backprop contributors"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
exclude_patterns = ["_build"]
default_role = "py:obj"

html_theme = "furo"
html_title = "backprop"
html_static_path = ["_static"]
html_css_files = ["cells.css"]
html_copy_source = False
viewcode_line_numbers = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
html_math_renderer = "mathml"  # formulas need no script and no network
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in words
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

CELLS = """\
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---

```{code-cell}
:tags: [remove-cell]
from matplotlib_inline.backend_inline import set_matplotlib_formats
set_matplotlib_formats("svg")
```

"""
"""What makes a page a notebook; figures are drawn sharp at any size."""


def run_python_blocks(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn the Python blocks of a page into cells to run."""
    text = re.sub(r"^```python$", "```{code-cell}", source[0], flags=re.MULTILINE)
    text = re.sub(r"^```python hidden$", "```{code-cell}\n:tags: [remove-cell]", text, flags=re.MULTILINE)
    if text != source[0]:
        source[0] = CELLS + text


def draw(app: Sphinx) -> None:
    """Draw the pictures of the guide, and the map of the package from the code as it is."""
    folder = Path(app.srcdir, "_drawn")
    architecture_map.write(folder)
    drawings.write(folder)


def write_math(translator: Any, node: nodes.Element) -> None:
    """Write a formula as MathML."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def write_laboratory(app: Sphinx, error: Exception | None) -> None:
    """Put the laboratory beside the pages that embed it."""
    if error is None and app.builder.format == "html":
        backprop.explain.laboratory(Path(app.outdir, "_static", "laboratory.html"))


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
    app.connect("builder-inited", draw)
    app.connect("build-finished", write_laboratory)
    app.connect("source-read", run_python_blocks)
