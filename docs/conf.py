"""Settings of the manual; ``make docs`` builds it."""

import sys
from pathlib import Path

import perovskite_polaron

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "perovskite_polaron"
author = "The perovskite_polaron developers"
project_copyright = author
release = version = perovskite_polaron.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton",
              "commands", "rooms"]
exclude_patterns = ["_ext"]
# The notebook is shown as it is stored; tests/test_notebook.py runs it.
nb_execution_mode = "off"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "perovskite_polaron"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "default"
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

napoleon_google_docstring = False
napoleon_use_ivar = True
# The same name, such as Table, may stand in two rooms.
suppress_warnings = ["ref.python"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
toc_object_entries = False
