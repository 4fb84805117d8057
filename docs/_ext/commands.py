"""Directive ``verbs``: the command reference, made of the parsers, one section for each verb."""

import argparse
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from perovskite_polaron.cli.main import VERBS, load

_WIDTH = 88
_TITLES = {"positional arguments": "Arguments", "options": "Options"}


class Verbs(SphinxDirective):
    """A section for each verb: what it does, how it is called, every argument, and its examples."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return [self._section(verb) for verb in VERBS]

    def _section(self, verb: str) -> nodes.section:
        entry = load(verb)
        parser = argparse.ArgumentParser(prog=f"polaron {verb}", formatter_class=_formatter)
        entry.add_arguments(parser)
        section = nodes.section(ids=[f"polaron-{verb}"], names=[f"polaron {verb}"])
        self.state.document.note_explicit_target(section)
        section += nodes.title("", "", nodes.Text(f"polaron {verb}"))
        section += nodes.paragraph("", VERBS[verb][0].upper() + VERBS[verb][1:] + ".")
        section += _literal(parser.format_usage().removeprefix("usage: ").rstrip())
        for group in parser._action_groups:
            entries = [_entry(a, parser) for a in group._group_actions
                       if not isinstance(a, argparse._HelpAction)]
            if entries:
                name = (group.title or "").removesuffix(":")
                section += nodes.rubric("", _TITLES.get(name, name.capitalize()))
                section += nodes.definition_list("", *entries, classes=["arguments"])
        section += nodes.rubric("", "Example")
        section += _literal("\n".join(line.strip() for line in entry.example.splitlines()))
        return section


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, width=_WIDTH)


def _literal(text: str) -> nodes.literal_block:
    return nodes.literal_block(text, text, language="text")


def _entry(action: argparse.Action, parser: argparse.ArgumentParser) -> nodes.definition_list_item:
    formatter = parser._get_formatter()
    name = formatter._format_action_invocation(action)
    words = formatter._expand_help(action) if action.help else ""
    if action.required and action.option_strings:
        words += " (required)"
    term = nodes.term("", "", nodes.literal(name, name))
    return nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", words)))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("verbs", Verbs)
    return {"parallel_read_safe": True}
