"""What the command line prints: tables, lines and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def table(rows: Sequence[dict[str, str]], title: str) -> None:
    """A table as wide as it needs to be; a terminal that is narrower wraps it, a file or a pipe gets it whole."""
    if not rows:
        return
    drawn = Table(title=Text(title), title_justify="left")
    for name in rows[0]:
        drawn.add_column(Text(name), overflow="fold")
    for row in rows:
        drawn.add_row(*[Text(str(value)) for value in row.values()])
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(drawn)


def short(value: Any) -> str:
    """A cell of a table: numbers with three digits, nothing for what is not known."""
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def say(text: str) -> None:
    """One line, unwrapped, nothing in it taken for markup."""
    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def print_json(value: Any) -> None:
    """JSON with two spaces of indent, letters as they are."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
