"""Structured list: label and string of each mention, in order of appearance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ...texts import Mention, TokenizedText
from .base import Grounding, ParsedMention, ParsedOutput, escape, unescape

SPECIAL_IN_WORDING = "(),\\"
SPECIAL_IN_MENTION = ")\\"
PAIR = re.compile(r"\((?P<wording>(?:\\.|[^(),\\])*), ?(?P<mention>(?:\\.|[^)\\])*)\)", re.DOTALL)


class StructuredFormat:
    """The structured format: `((LOC, Japan), (MISC, World Cup))`; `()` without mentions."""

    name = "structured"

    def render(
        self, source: TokenizedText, mentions: Sequence[Mention], wordings: Mapping[str, str]
    ) -> tuple[str, list[Mention]]:
        """Write the mentions of a text as a list. No mention is left out."""
        pairs = []
        for mention in sorted(mentions):
            wording = escape(wordings[mention.label], SPECIAL_IN_WORDING)
            string = escape(source.text[mention.start : mention.end], SPECIAL_IN_MENTION)
            pairs.append(f"({wording}, {string})")
        return f"({', '.join(pairs)})", []

    def parse(
        self, output: str, source: TokenizedText, wordings: Mapping[str, str]
    ) -> ParsedOutput:
        """Read the mentions in an output.

        Before, between and after the pairs, any stretch other than the expected punctuation is
        malformed.
        """
        pairs = list(PAIR.finditer(output))
        grounding = Grounding(source, wordings)
        mentions = []
        for pair in pairs:
            label = grounding.label(unescape(pair["wording"], SPECIAL_IN_WORDING))
            string = unescape(pair["mention"], SPECIAL_IN_MENTION)
            places = grounding.places(string)
            if label is not None and places:
                mentions.append(ParsedMention(label, places, (pair.start() + 1, pair.end() - 1)))
        return ParsedOutput(
            mentions=tuple(mentions),
            malformed=_count_malformed(output, pairs),
            ungrounded=len(pairs) - len(mentions),
        )


def _count_malformed(output: str, pairs: Sequence[re.Match[str]]) -> int:
    """Count the stretches around the pairs that are not the expected punctuation."""
    starts = [0, *(pair.end() for pair in pairs)]
    ends = [*(pair.start() for pair in pairs), len(output)]
    right = ["(", *[","] * (len(pairs) - 1), ")"] if pairs else ["()"]
    stretches = ["".join(output[i:j].split()) for i, j in zip(starts, ends, strict=True)]
    return sum(stretch != each for stretch, each in zip(stretches, right, strict=True))
