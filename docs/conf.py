"""Sphinx reads this: what the documentation is made of, and how it looks."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "vsw"
copyright = "the vsw authors"
version = release = installed_version("vsw-switch")

extensions = ["myst_parser", "sphinx.ext.autodoc", "vsw_tables"]
exclude_patterns = ["_build", "_ext"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
add_module_names = False
python_display_short_literal_types = True

html_theme = "furo"
html_title = f"vsw {release}"
html_static_path = ["_static"]
html_css_files = ["vsw.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "none"
pygments_style = "friendly"
pygments_dark_style = "native"
