"""A hook of MkDocs that colours commands and options in shell blocks.

Pygments colours strings and comments there, and leaves what these pages are about plain. Options in
the text get a class, with which they do not break after a hyphen.
"""

from __future__ import annotations

import re
from typing import Any

BLOCK = re.compile(r'<div class="language-sh highlight">.*?</div>', re.DOTALL)
COMMENT = re.compile(r'(<span class="c1">.*?</span>)')
COMMAND = re.compile(r'(<span id="__line-[^"]*">(?:<a [^>]*></a>)?)([\w.-]+)(?=[<\s])')
OPTION = re.compile(r"(?<=[ >])(--?[A-Za-z][\w-]*)")
INLINE = re.compile(r"<code>(.*?)</code>")  # a block goes over several lines


def coloured(block: str) -> str:
    """Return a shell block, HTML of Pygments, with the commands and options in spans."""
    block = COMMAND.sub(r'\1<span class="nf">\2</span>', block)
    parts = COMMENT.split(block)
    parts[::2] = [OPTION.sub(r'<span class="na">\1</span>', part) for part in parts[::2]]
    return "".join(parts)


def unbroken(code: str) -> str:
    """Return words of code in a text, HTML, with the options in spans that do not break."""
    return OPTION.sub(r'<span class="option">\1</span>', code)


def on_page_content(html: str, **_: Any) -> str:
    """Return the HTML of a page with its options and shell blocks marked; MkDocs calls this."""
    html = INLINE.sub(lambda found: unbroken(found[0]), html)
    return BLOCK.sub(lambda found: coloured(found[0]), html)
