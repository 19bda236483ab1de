"""Gold mentions → what each way of decoding writes for them, whatever the model chooses."""

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
from ..tree.runs import TreeRun
from ..tree.token_tree import Trie
from .output_formats import get_output_format


@dataclass(frozen=True)
class Replay:
    """What is written of a text.

    Args:
        mentions: For each label the ids of its mentions, ends included, in order of appearance.
        output: The ids of all of them in one sequence, of an output format.
        left_out: How many gold mentions are not among them.
        encoder: The template's ids.
    """

    mentions: Mapping[str, Sequence[list[int]]]
    output: list[int]
    left_out: int
    encoder: PromptEncoder = field(repr=False)

    @classmethod
    def of(cls, text: AnnotatedText, padellm: PaDeLLM) -> Replay:
        """Find what a model that makes no mistakes would write.

        Args:
            text: A text with its gold mentions.
            padellm: Says how mentions are written, and how many may be.
        """
        encoder, settings = padellm.encoder, padellm.settings
        found, _ = find_teachable(text, list(settings.labels), encoder, settings.max_mentions)
        listed = [mention for of_label in found.values() for mention, _ in of_label]
        left_out = len(text.mentions) - len(listed)
        mentions = {label: [ids for _, ids in found.get(label, ())] for label in settings.labels}
        output: list[int] = []
        if settings.output_format != PARALLEL:
            output_format = get_output_format(settings.output_format)
            # Of mentions that cross, augmented text has one.
            rendered, crossing = output_format.render(text.source, listed, encoder.labels)
            output = encoder.encode_output(rendered)
            left_out += len(crossing)
        return cls(mentions, output, left_out, encoder)

    @cached_property
    def following(self) -> Trie[None]:
        """What is written below the text in parallel, each count and mention in its sequence."""
        trie: Trie[None] = Trie()
        for label, mentions in self.mentions.items():
            counted = [*self.encoder.branches[label], *self.encoder.count_ids[len(mentions)]]
            openers = [self.encoder.openers[n] for n in range(1, len(mentions) + 1)]
            sequences = [[*counted, *o, *ids] for o, ids in zip(openers, mentions, strict=True)]
            for ids in sequences or [counted]:
                trie.insert(ids, None)
        return trie


@dataclass(frozen=True, eq=False)
class ReplayedText(EncodedText):
    """A text of which something given is written.

    Args:
        replay: What.
    """

    replay: Replay = field(kw_only=True)

    @classmethod
    def of(cls, text: EncodedText, replay: Replay) -> ReplayedText:
        """Have something written of a text."""
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
    """Find what is to be written of a text, `None` where the model chooses."""
    return text.replay if isinstance(text, ReplayedText) else None


class ReplayingDecoder(ParallelDecoder):
    """Decodes in parallel; of replayed texts it writes what is given. The model runs as ever."""

    def choose(
        self,
        run: TreeRun,
        states: Sequence[TextState],
        proposed: Sequence[Mapping[int, Sequence[int]]],
    ) -> list[dict[int, Choice]]:
        """Run a pass, and take what is given where a node lies on it; the rest, drafts that are
        not gone on from, stays the model's choice.
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
    """Find the ids that follow a node's sequence below the text."""
    ids = []
    while node >= state.tree.prefix_length:
        ids.append(state.tree.ids[node])
        node = state.tree.parents[node]
    place = trie.find(reversed(ids))
    return [] if place is None else list(trie.children[place])
