"""Print one marked code block of README.md, so that checks run the words that a reader pastes.

A fenced block may stand under a comment `<!-- run: WORDS -->`; `readme_block.py WORDS` prints it.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"

FENCED_BLOCK = re.compile(
    r"(?:^<!-- run: (?P<marker>[\w ]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced code block, the line that it starts on, and its marker ("" where it has none)."""

    language: str
    code: str
    line: int
    marker: str


def fenced_blocks(text: str) -> list[Block]:
    """Return the fenced code blocks of a Markdown text that name a language, in order."""
    return [
        Block(
            language=match["language"],
            code=match["code"],
            line=text.count("\n", 0, match.start("code")),
            marker=match["marker"] or "",
        )
        for match in FENCED_BLOCK.finditer(text)
    ]


def marked_block(text: str, marker: str) -> Block:
    """Return the block under `<!-- run: marker -->`; raise LookupError unless there is just one."""
    found = [block for block in fenced_blocks(text) if block.marker == marker]
    if len(found) != 1:
        raise LookupError(f"{len(found)} blocks are marked '<!-- run: {marker} -->', expected one")
    return found[0]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: readme_block.py MARKER")
    try:
        block = marked_block(README.read_text(encoding="utf-8"), sys.argv[1])
    except LookupError as error:
        sys.exit(f"error: {README.name}: {error}")
    print(block.code, end="")


if __name__ == "__main__":
    main()
