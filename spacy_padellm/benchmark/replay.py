"""Replay: decoders write the gold mentions, whatever the model chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..decode.decoder import ParallelDecoder
from ..decode.state import Choice, TextState
from ..model import PaDeLLM
from ..prompt.encoder import EncodedText, PromptEncoder
from ..settings import PARALLEL
from ..texts import AnnotatedText
from ..train.gold import find_teachable
from ..tree.run import TreeRun
from ..tree.token_tree import Trie
from .output_formats import get_output_format


@dataclass(frozen=True)
class Replay:
    """The ids that decoders write for a text in a replay.

    Args:
        mentions: Label → the ids of its mentions, with end tokens, in order of appearance.
        output: The ids of all mentions in one sequence; empty for the format `"parallel"`.
        left_out: Number of gold mentions that are not among them.
        encoder: The prompt encoder.
    """

    mentions: Mapping[str, Sequence[list[int]]]
    output: list[int]
    left_out: int
    encoder: PromptEncoder = field(repr=False)

    @classmethod
    def of(cls, text: AnnotatedText, padellm: PaDeLLM) -> Replay:
        """Find what a model without mistakes would write.

        Args:
            text: A text with its gold mentions.
            padellm: The model, whose settings say how mentions are written, and how many at most.
        """
        encoder, settings = padellm.encoder, padellm.settings
        found, _ = find_teachable(text, list(settings.labels), encoder, settings.max_mentions)
        listed = [mention for of_label in found.values() for mention, _ in of_label]
        left_out = len(text.mentions) - len(listed)
        mentions = {label: [ids for _, ids in found.get(label, ())] for label in settings.labels}
        output: list[int] = []
        if settings.output_format != PARALLEL:
            output_format = get_output_format(settings.output_format)
            # Augmented text can have only one of two mentions that cross.
            rendered, crossing = output_format.render(text.source, listed, encoder.labels)
            output = encoder.encode_output(rendered)
            left_out += len(crossing)
        return cls(mentions, output, left_out, encoder)

    @cached_property
    def following(self) -> Trie[None]:
        """The trie of the counts and mentions that are written after the text in parallel."""
        written: list[list[int]] = []
        for label, mentions in self.mentions.items():
            counted = [*self.encoder.branches[label], *self.encoder.count_ids[len(mentions)]]
            openers = [self.encoder.openers[n] for n in range(1, len(mentions) + 1)]
            sequences = [[*counted, *o, *ids] for o, ids in zip(openers, mentions, strict=True)]
            written += sequences or [counted]
        return Trie((ids, None) for ids in written)


@dataclass(frozen=True, eq=False)
class ReplayedText(EncodedText):
    """An encoded text with a replay.

    Args:
        replay: The ids to write for the text.
    """

    replay: Replay = field(kw_only=True)

    @classmethod
    def of(cls, text: EncodedText, replay: Replay) -> ReplayedText:
        """Add a replay to an encoded text."""
        return cls(
            text.text,
            text.tokens,
            text.prefix,
            text.length,
            text.offsets,
            text.encoder,
            replay=replay,
        )


def replay_of(text: EncodedText) -> Replay | None:
    """Return the replay of a text; `None` if the model chooses what is written."""
    return text.replay if isinstance(text, ReplayedText) else None


class ReplayingDecoder(ParallelDecoder):
    """A parallel decoder that writes the replays of texts, while the model runs as usual."""

    def choose(
        self,
        run: TreeRun,
        states: Sequence[TextState],
        proposed: Sequence[Mapping[int, Sequence[int]]],
    ) -> list[dict[int, Choice]]:
        """Run one pass, and replace the model's choices with those of the replays.

        The model's choice stays at a wrong draft, where the replay has no node.
        """
        choices = super().choose(run, states, proposed)
        for state, chosen in zip(states, choices, strict=True):
            if (replay := replay_of(state.text)) is None:
                continue
            for node, choice in chosen.items():
                following = _find_following(state, node, replay.following)
                if len(following) == 1:
                    chosen[node] = choice._replace(token_id=following[0])
        return choices


def _find_following(state: TextState, node: int, trie: Trie[None]) -> list[int]:
    """Return the ids that may follow a node in the trie; empty if the node is not in it."""
    ids = []
    while node >= state.tree.prefix_length:
        ids.append(state.tree.ids[node])
        node = state.tree.parents[node]
    place = trie.find(reversed(ids))
    return [] if place is None else list(trie.children(place))
