"""What may be written next on one branch: a trie's continuations, or anything at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from ..tree.trie import Trie

Value = TypeVar("Value")


class Guide(Protocol):
    """Where one branch stands."""

    @property
    def log_prob(self) -> float:
        """RETURNS (float): Sum of the log-probabilities of the tokens written, the terminator
        excluded.
        """
        ...

    @property
    def done(self) -> bool:
        """RETURNS (bool): Whether the branch has come to its end."""
        ...

    def admissible(self) -> Sequence[int] | None:
        """RETURNS (Optional[Sequence[int]]): Ids that may come next, `None` for any."""
        ...

    def write(self, token_id: int, log_prob: float) -> list[int]:
        """token_id (int): The token written.
        log_prob (float): Its log-probability.
        RETURNS (List[int]): The ids the branch grows by.
        """
        ...


class TrieGuide(Generic[Value]):
    """Walks a trie: what comes out is one of its values.

    trie (Trie[Value]): The admissible sequences.
    scored (bool): Whether the log-probability is wanted. Where it is not, continuations without
        an alternative are taken without asking the model.
    node (int): The trie node it has come to.
    """

    def __init__(self, trie: Trie[Value], *, scored: bool) -> None:
        self.log_prob = 0.0
        self._trie = trie
        self.node = trie.START
        self._scored = scored

    @property
    def done(self) -> bool:
        """RETURNS (bool): Whether a value was reached."""
        return self.node in self._trie.values

    @property
    def values(self) -> list[Value]:
        """RETURNS (List[Value]): What the finished branch stands for."""
        return self._trie.values[self.node]

    def admissible(self) -> list[int]:
        """RETURNS (List[int]): Ids that may come next."""
        return list(self._trie.children[self.node])

    def write(self, token_id: int, log_prob: float) -> list[int]:
        """token_id (int): The token written, an admissible one.
        log_prob (float): Its log-probability.
        RETURNS (List[int]): The token, and what follows it without an alternative or a score.
        """
        self.node = self._trie.children[self.node][token_id]
        written = [token_id]
        if not self.done:
            self.log_prob += log_prob
        while len(choices := self._trie.children[self.node]) == 1:
            ((forced_id, node),) = choices.items()
            if self._scored and node not in self._trie.values:
                break
            self.node = node
            written.append(forced_id)
        return written


class FreeGuide:
    """Lets the model write what it likes until it writes an end.

    ends (Sequence[Sequence[int]]): Id sequences that end the branch.
    max_tokens (int): Cut the branch off here.
    ids (List[int]): What was written, the end left out.
    log_probs (List[float]): The log-probability of each.
    """

    def __init__(self, ends: Sequence[Sequence[int]], max_tokens: int) -> None:
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.ended = False
        self._ends = [list(end) for end in ends]
        self._max_tokens = max_tokens

    @property
    def log_prob(self) -> float:
        """RETURNS (float): Sum of the log-probabilities of the tokens written, the end excluded."""
        return sum(self.log_probs)

    @property
    def done(self) -> bool:
        """RETURNS (bool): Whether it ended, or was cut off."""
        return self.ended or len(self.ids) >= self._max_tokens

    def admissible(self) -> None:
        """RETURNS (None): Anything may come."""
        return None

    def write(self, token_id: int, log_prob: float) -> list[int]:
        """token_id (int): The token written.
        log_prob (float): Its log-probability.
        RETURNS (List[int]): The token.
        """
        self.ids.append(token_id)
        self.log_probs.append(log_prob)
        for end in self._ends:
            if self.ids[-len(end) :] == end:
                del self.ids[-len(end) :], self.log_probs[-len(end) :]
                self.ended = True
                return [token_id]
        return [token_id]
