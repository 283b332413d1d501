"""The hook that colours shell blocks of the docs' site."""

import re
import runpy

from helpers.html import Outline
from helpers.paths import ROOT

COLOURS = runpy.run_path(str(ROOT / "docs" / "shell_colours.py"))
GAP = '<span class="w"> </span>'
BLOCK = f"""<div class="language-sh highlight"><pre><span></span><code>\
<span id="__line-1-1"><a id="x" name="x"></a>deconvnet{GAP}segment{GAP}a-b.jpg{GAP}-o{GAP}\
<span class="s1">'--x'</span>{GAP}--crf{GAP}<span class="c1"># as --crf does</span>
</span><span id="__line-1-2">cat{GAP}a{GAP}<span class="p">|</span>{GAP}deconvnet{GAP}segment{GAP}-\
{GAP}--max-pixels=3
</span></code></pre></div>"""


def test_commands_and_options_have_colours_and_no_text_changes():
    other = BLOCK.replace("language-sh", "language-python")
    page = COLOURS["on_page_content"](other + BLOCK, page=None, config=None)
    assert page.startswith(other)
    found = page.removeprefix(other)
    assert re.findall(r'<span class="nf">(.*?)</span>', found) == ["deconvnet", "cat"]
    assert re.findall(r'<span class="na">(.*?)</span>', found) == ["-o", "--crf", "--max-pixels"]
    assert "".join(Outline(found).text) == "".join(Outline(BLOCK).text)


def test_options_in_a_text_do_not_break():
    text = "<p>With <code>--net fcn8s</code>, not <code>a-b</code> or --crf</p>"
    page = COLOURS["on_page_content"](text + BLOCK, page=None, config=None)
    assert re.findall(r'<span class="option">(.*?)</span>', page) == ["--net"]
    assert "".join(Outline(page).text) == "".join(Outline(text + BLOCK).text)
