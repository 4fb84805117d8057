"""From a crystal and a measured X-ray transient to how far which atoms moved, with an error."""

from importlib.metadata import version as _version

__version__ = _version("perovskite-polaron")
