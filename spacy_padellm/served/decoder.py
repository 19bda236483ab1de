"""Decode with a model server: whole answers, followed through the trie."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ..decode.decoder import DecodingCost
from ..decode.mentions import DecodedMention
from ..decode.state import Choice, TextState
from ..errors import Errors
from ..prompt.encoder import EncodedText, PromptEncoder
from ..tree.causal_lm import TextTooLongError
from .client import CompletionClient


class _Written(NamedTuple):
    """A text that was written.

    Args:
        mentions: Its mentions.
        requests: Number of requests made.
        ids: Number of ids that the server wrote.
        kept: Number of tokens of its tree that were kept.
    """

    mentions: list[DecodedMention]
    requests: int
    ids: int
    kept: int


class ServedDecoder:
    """A decoder whose choices are made by a model server.

    All counts of a text are written in one request, and then all mentions. The server may write any
    ids of the trie, in any order, so an answer can leave the trie. There the id is asked for again,
    among exactly those that the trie has. A choice among more ids that is in the trie is the trie's
    choice, too. So what is found is what the model finds in this process.

    Args:
        client: The client.
        encoder: The prompt encoder.
        concurrency: Most requests at once.

    Attributes:
        cost: The cost of decoding so far. A request counts as a pass, an id written as a token.
    """

    def __init__(
        self, client: CompletionClient, encoder: PromptEncoder, *, concurrency: int
    ) -> None:
        self.client = client
        self.encoder = encoder
        self.cost = DecodingCost()
        self._concurrency = concurrency

    def fits(self, text: EncodedText) -> bool:
        """Return whether the server takes a text and all that may be written after it.

        Raises:
            ServerError: The server does not say how much it takes.
        """
        room = self.client.max_depth - self._depth(text)
        # The trie of a text that is certainly too long, or certainly not, is not needed.
        return room > 0 and (text.most_mention_tokens <= room or text.trie.depth <= room)

    def _depth(self, text: EncodedText) -> int:
        return text.encoder.depth_before_mentions(text, text.encoder.labels)

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Find the mentions of texts, label by label, in the order of their numbers.

        Raises:
            ServerError: The server refuses, or gives no usable answer in time. No further text is
                sent to it then.
            RefusedError: The server refuses a text.
            TextTooLongError: A text is longer than the server takes.
        """
        # Asked for before there are threads, so that the server is asked once.
        most = self.client.max_depth if texts else 0
        for text in texts:
            if not self.fits(text):
                depth = self._depth(text) + text.most_mention_tokens
                raise TextTooLongError(Errors.P023.format(depth=depth, positions=most))
        failures: list[BaseException] = []
        stopped = threading.Event()

        def write(text: EncodedText) -> _Written | None:
            try:
                return self._write(text, stopped)
            except Exception as error:
                failures.append(error)
                stopped.set()
                return None

        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                found = list(pool.map(write, texts))
            except BaseException:
                # An interrupt: the threads end with their present requests.
                stopped.set()
                raise
        if failures:
            raise failures[0]
        written = [each for each in found if each is not None]
        for each in written:
            self.cost.passes += each.requests
            self.cost.tokens += each.ids
            self.cost.distinct_tokens += each.kept
        return [each.mentions for each in written]

    def _write(self, text: EncodedText, stopped: threading.Event) -> _Written | None:
        """Write the mentions of a text; `None` if another text has failed meanwhile."""
        state = TextState(text)
        state.open(list(text.encoder.labels), None)
        # Node → what the server wrote after it, as far as it is not used yet.
        answers: dict[int, list[Choice]] = defaultdict(list)
        requests = written = 0
        while proposed := state.propose():
            for nodes, allowed, most in self._find_questions(state, proposed, answers):
                if stopped.is_set():
                    return None
                prompts = [state.tree.sequence(node) for node in nodes]
                room = self.client.max_depth - max(map(len, prompts))
                found = self.client.complete(prompts, allowed, min(most, room), stopped)
                answers.update(zip(nodes, found, strict=True))
                requests += 1
                written += sum(map(len, found))
            # Where an answer has left the trie, the node is asked again in the next round.
            choices = {
                node: answers[node][0]
                for node, ids in proposed.items()
                if answers[node][0].token_id in ids
            }
            for node, choice in choices.items():
                (child,) = state.tree.insert([choice.token_id], node)
                answers[child] = answers.pop(node)[1:]
            state.advance(choices)
        mentions, kept = list(state.mentions()), state.count_kept()
        # The trie takes many times the memory of its text.
        vars(text).pop("trie", None)
        return _Written(mentions, requests, written, kept)

    def _find_questions(
        self,
        state: TextState,
        proposed: Mapping[int, Sequence[int]],
        answers: Mapping[int, Sequence[Choice]],
    ) -> list[tuple[list[int], list[int], int]]:
        """Find what to ask the server: nodes, the ids that it may write, and how many at most."""
        new: list[int] = []
        left: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for node, ids in proposed.items():
            if not answers[node]:
                new.append(node)
            elif answers[node][0].token_id not in ids:
                left[tuple(ids)].append(node)
        questions = [(nodes, list(ids), 1) for ids, nodes in left.items()]
        if new:
            trie = self.encoder.counts if state.is_counting else state.text.trie
            questions.append((new, sorted(trie.ids), trie.depth))
        return questions
