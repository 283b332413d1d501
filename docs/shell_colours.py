"""A hook of MkDocs that colours commands and options in shell blocks.

Pygments colours strings and comments there, and leaves what these pages are about plain.
"""

from __future__ import annotations

import re
from typing import Any

BLOCK = re.compile(r'<div class="language-sh highlight">.*?</div>', re.DOTALL)
COMMENT = re.compile(r'(<span class="c1">.*?</span>)')
COMMAND = re.compile(r'(<span id="__line-[^"]*">(?:<a [^>]*></a>)?)([\w.-]+)(?=[<\s])')
OPTION = re.compile(r"(?<=[ >])(--?[A-Za-z][\w-]*)")


def coloured(block: str) -> str:
    """Return a shell block, HTML of Pygments, with the commands and options in spans."""
    block = COMMAND.sub(r'\1<span class="nf">\2</span>', block)
    parts = COMMENT.split(block)
    parts[::2] = [OPTION.sub(r'<span class="na">\1</span>', part) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, **_: Any) -> str:
    """Return the HTML of a page with its shell blocks coloured; MkDocs calls this."""
    return BLOCK.sub(lambda found: coloured(found[0]), html)
