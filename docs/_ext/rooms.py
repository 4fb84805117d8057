"""Directive ``room``: the public modules of one package, each with its docstring and members."""

import importlib
import pkgutil
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_SECTION = """## {name}

```{{eval-rst}}
.. automodule:: {package}.{name}
   :members:
```
"""


class Room(SphinxDirective):
    """A section for each public module of a package, without the packages in it."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        package = importlib.import_module(self.arguments[0])
        names = [m.name for m in pkgutil.iter_modules(package.__path__)
                 if not m.ispkg and not m.name.startswith("_")]
        text = "\n".join(_SECTION.format(name=name, package=package.__name__) for name in names)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("room", Room)
    return {"parallel_read_safe": True}
