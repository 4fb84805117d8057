"""Directive ``room``: the public modules of one package, each with its docstring and members.

autodoc learns two things: bars in a docstring mean absolute values, where reStructuredText
would look for a substitution; and NumPy's types keep the names that people know.
"""

import importlib
import pkgutil
import re
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# What the types of NumPy look like once Python has resolved them.
_ARRAY = re.compile(r"(?:~?numpy\.)?ndarray\[tuple\[(?:~?typing\.)?Any, \.\.\.\],"
                    r" (?:~?numpy\.)?dtype\[(?:~?numpy\.)?(\w+)\]\]")
_ARRAY_LIKE = re.compile(r"[\w.~]*_Buffer \|.*?_NestedSequence\[complex \| bytes \| str\]")
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


def _bars(app: Sphinx, what: str, name: str, _thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = ["".join(part if part.startswith("``") else part.replace("|", r"\|")
                        for part in re.split(r"(``.+?``)", line)) for line in lines]


def _types(app: Sphinx, what: str, name: str, _thing: Any, options: Any, signature: str | None,
           returned: str | None) -> Any:
    return tuple(text and _ARRAY_LIKE.sub("ArrayLike", _ARRAY.sub(r"NDArray[\1]", text))
                 for text in (signature, returned))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and what autodoc learns."""
    app.add_directive("room", Room)
    app.connect("autodoc-process-docstring", _bars)
    app.connect("autodoc-process-signature", _types)
    return {"parallel_read_safe": True}
