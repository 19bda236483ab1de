"""Free decoding: sequences that a model writes over its whole vocabulary, and their cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from ..decode.decoder import DecodingCost
from ..decode.state import Choice
from ..tree.choices import check_numbers
from ..tree.run import TreeRun
from ..tree.token_tree import TokenTree
from .padded import OneByOneRun


@dataclass
class LaboratoryCost(DecodingCost):
    """The cost of decoding, and what was lost.

    Args:
        malformed: Number of stretches of the output that could not be read.
        ungrounded: Number of mentions that are not in the text, or whose label is unknown.
        simulated_seconds: Simulated time, in seconds; `None` if time is not simulated.
        output_format: The output format that was read; `None` if there was none.
    """

    malformed: int = 0
    ungrounded: int = 0
    simulated_seconds: float | None = None
    output_format: str | None = None

    @classmethod
    def of(cls, cost: DecodingCost) -> LaboratoryCost:
        """Return a copy of any decoder's cost. In parallel decoding nothing is lost."""
        return replace(cost) if isinstance(cost, cls) else cls(**asdict(cost))

    def add(self, run: TreeRun, kept: int) -> None:
        """Add the cost of a finished run.

        Args:
            run: The run.
            kept: Number of tokens kept in its trees.
        """
        super().add(run, kept)
        if isinstance(run, OneByOneRun):
            self.simulated_seconds = (self.simulated_seconds or 0.0) + run.simulated_seconds

    def describe(self) -> str:
        """Return the cost as one or two lines of text."""
        described = super().describe()
        if self.output_format is None:
            return described
        return (
            f"{described}\n{self.malformed} stretches of the {self.output_format} output "
            f"malformed, {self.ungrounded} mentions ungrounded"
        )


class FreeSequence:
    """A sequence in which the model writes any tokens until it writes an end.

    Args:
        node: The tree node after which it begins.
        ends: Id sequences that end it.
        max_tokens: Number of tokens at which it is cut off.
        replay: The ids to write, with an end, whatever the model chooses; `None` to write its
            choices. The cost is that of a model that writes these ids itself.

    Attributes:
        node: The tree node that it has reached.
        ids: The ids written, without the end.
        log_probs: The log-probability of the model's choice at each of these ids.
        is_ended: Whether an end was written.
    """

    def __init__(
        self,
        node: int,
        ends: Sequence[Sequence[int]],
        max_tokens: int,
        replay: Sequence[int] | None = None,
    ) -> None:
        self.node = node
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.is_ended = False
        self.max_tokens = max_tokens
        self._ends = [list(end) for end in ends]
        self._replay = replay

    @property
    def is_finished(self) -> bool:
        """Whether it has ended or was cut off."""
        return self.is_ended or len(self.ids) >= self.max_tokens

    def advance(self, tree: TokenTree, choices: Mapping[int, Choice]) -> None:
        """Write as far as the choices are known.

        Args:
            tree: The tree. Nodes that are not drafted yet are added to it.
            choices: The choices at the nodes that were run so far.
        """
        while not self.is_finished and (choice := choices.get(self.node)) is not None:
            token_id = choice.token_id if self._replay is None else self._replay[len(self.ids)]
            self.ids.append(token_id)
            self.log_probs.append(choice.log_prob)
            for end in self._ends:
                if self.ids[-len(end) :] == end:
                    del self.ids[-len(end) :], self.log_probs[-len(end) :]
                    self.is_ended = True
                    return
            if not self.is_finished:
                (self.node,) = tree.insert([token_id], self.node)


class FreeText(ABC):
    """A text for which sequences are written freely.

    Args:
        prefix: The ids that all its sequences begin with.

    Attributes:
        tree: The text's tree. Wrong drafts may be cut off.
    """

    def __init__(self, prefix: Sequence[int]) -> None:
        self.tree = TokenTree(prefix)

    @property
    @abstractmethod
    def sequences(self) -> Sequence[FreeSequence]:
        """All sequences of the text, finished or not."""

    def propose(self) -> list[int]:
        """Return the new nodes to run: those where a choice is needed, and drafts.

        Returns:
            The nodes; empty if everything is written.
        """
        return list(dict.fromkeys(each.node for each in self.sequences if not each.is_finished))

    @abstractmethod
    def advance(self, choices: Mapping[int, Choice]) -> None:
        """Write as far as the choices are known.

        Args:
            choices: The choice at each proposed node.
        """

    def count_kept(self) -> int:
        """Count the tokens of the tree that were kept, without rejected drafts."""
        return len({node for each in self.sequences for node in self.tree.path(each.node)})


def write_freely(run: TreeRun, texts: Sequence[FreeText], cost: LaboratoryCost) -> None:
    """Run passes until everything is written.

    Args:
        run: The run of the texts' trees.
        texts: The texts.
        cost: The cost to which this run is added.
    """
    while any(proposed := [text.propose() for text in texts]):
        run.retire(place for place, nodes in enumerate(proposed) if not nodes)
        logits = run.logits(proposed).float()
        best, ids = logits.max(dim=1)
        log_probs = best - logits.logsumexp(dim=1)
        # One transfer, as each one waits for the device. A double holds any id exactly.
        pairs = torch.stack([ids.double(), log_probs.double()], dim=1).cpu()
        check_numbers(pairs)
        chosen = iter(Choice(int(token_id), log_prob) for token_id, log_prob in pairs.tolist())
        for text, nodes in zip(texts, proposed, strict=True):
            text.advance({node: next(chosen) for node in nodes})
    cost.add(run, sum(text.count_kept() for text in texts))
