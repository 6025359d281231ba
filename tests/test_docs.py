"""The guides run: their Python blocks in order, in one module, each printing what the text block after it says.

`python tests/test_docs.py` writes what is printed into them.
"""

import contextlib
import io
import linecache
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = [DOCS / "programming.md", DOCS / "monte-carlo.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")


def run(text, path):
    """What each block prints, and what the text after it says (empty without one)."""
    names = {"__name__": "guide"}
    linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))
    for block in BLOCK.finditer(text):
        blank = "\n" * text.count("\n", 0, block.start(1))  # so that lines are those of the page
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(blank + block[1], str(path), "exec"), names)
        yield block, printed.getvalue().replace(f"{path.parent}/", "")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.stem)
def test_guide(guide):
    found = list(run(guide.read_text(), guide))
    assert len(found) >= 5
    for block, printed in found:
        assert _lines(printed) == _lines(block[2] or ""), block[1]


def test_the_tile_program_of_the_readme():
    readme = DOCS.parent / "README.md"
    blocks = [b[0] for b in BLOCK.finditer(readme.read_text()) if "@codelet" in b[1]]
    ((_, printed),) = run("\n".join(blocks), readme)
    assert "'compute'" in printed
    assert "pairing:" in printed


def test_a_changed_figure_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(6 * 7)\n```\n\n```text\n41\n```\n")
    ((block, printed),) = run(page.read_text(), page)
    assert printed == "42\n"
    assert block[2] == "41\n"


@pytest.mark.parametrize("page", sorted(p.relative_to(DOCS).as_posix() for p in DOCS.glob("**/*.md")))
def test_links_lead_somewhere(page):
    missing = [
        link for link in LINK.findall((DOCS / page).read_text()) if not (DOCS / page).parent.joinpath(link).exists()
    ]
    assert not missing


def test_every_lesson_is_in_the_index():
    index = (DOCS / "course" / "index.md").read_text()
    lessons = sorted(p.name for p in (DOCS / "course").glob("[0-9]*.md"))
    assert lessons
    assert sorted(set(re.findall(r"\((\d\d-[a-z0-9-]+\.md)\)", index))) == lessons


def _lines(text):
    return [line.rstrip() for line in text.splitlines()]


def _rewrite(guide):
    text, at, out = guide.read_text(), 0, []
    for block, printed in run(text, guide):
        out.append(text[at : block.end(1)] + "```\n")
        if printed:
            out.append("\n```text\n" + "".join(f"{line}\n" for line in _lines(printed)) + "```\n")
        at = block.end()
    guide.write_text("".join([*out, text[at:]]))


if __name__ == "__main__":
    for page in GUIDES:
        _rewrite(page)
