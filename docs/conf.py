"""How Sphinx builds the site: ``make docs``."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

# Documents the code beside this folder, whatever else is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clustnet import __version__

project = "ClustNet"
author = "the makers of ClustNet"
project_copyright = author
release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]

# Links to headings, as '#measured', are GitHub's.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
# The notebook holds its outputs, and tests/docs/test_notebooks.py runs it.
nb_execution_mode = "off"

highlight_language = "none"
add_module_names = False
autodoc_member_order = "bysource"
# The docstrings say shapes, types and ranges; pydantic's annotations fill a page.
autodoc_typehints = "none"
# scikit-learn writes the last two, about a routing of metadata that is not used here.
autodoc_default_options = {
    "members": True,
    "exclude-members": "model_config, set_score_request, set_split_request",
}
# Attributes that are properties have a docstring of their own as well.
napoleon_use_ivar = True
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = "ClustNet"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]

# Pages that lie outside this folder, where GitHub shows them, and the pages of the site that include them.
OUTSIDE = {
    "../CONTRIBUTING.md": "contributing.md",
    "../CHANGELOG.md": "changelog.md",
    "../benchmarks/README.md": "benchmarks.md",
    "../models/encoders/lite0/README.md": "lite0.md",
}


def adapt(_: Sphinx, page: str, source: list[str]) -> None:
    """Lead links to pages outside this folder to the pages that include them, and keep a number and its ± on a line."""
    source[0] = re.sub(r"(?<=\d) ± (?=\d)", "\u00a0±\u00a0", source[0])
    up = "../" * page.count("/")
    for outside, inside in OUTSIDE.items():
        source[0] = re.sub(rf"\]\({re.escape(up + outside)}", f"]({up}{inside}", source[0])


def setup(app: Sphinx) -> None:
    """Adapt each page as it is read."""
    app.connect("source-read", adapt)
