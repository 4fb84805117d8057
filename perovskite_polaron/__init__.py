"""From a crystal and a measured X-ray transient to a number with an error bar: how far which atoms moved."""

from importlib.metadata import version as _version

__version__ = _version("perovskite-polaron")
