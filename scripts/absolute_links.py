"""Make the relative links and pictures of a Markdown file absolute, for a package index.

Usage: `python scripts/absolute_links.py FILE URL`. The file is changed in place.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# `[text](target)` and `![text](target)`, where the target is a path, no address and no anchor.
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<path>(?![a-z]+:|#)[^)\s]+)\)")


def make_absolute(markdown: str, url: str) -> str:
    """Put a URL before all relative targets.

    Args:
        markdown: The text.
        url: Where the files are shown, such as `https://github.com/OWNER/NAME/blob/v1.0`.
    """

    def replace(link: re.Match[str]) -> str:
        # GitHub shows a page about a picture unless it is asked for the picture itself.
        query = "?raw=true" if link["picture"] else ""
        return f"{link['picture']}[{link['text']}]({url}/{link['path']}{query})"

    return _LINK.sub(replace, markdown)


if __name__ == "__main__":
    file, base = Path(sys.argv[1]), sys.argv[2].rstrip("/")
    file.write_text(make_absolute(file.read_text(encoding="utf8"), base), encoding="utf8")
