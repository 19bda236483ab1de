"""How the probabilities of a model become scores that mean what they say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import Errors


@dataclass(frozen=True)
class Calibration:
    """Temperatures of the two parts of a score (Guo et al., 2017, "On Calibration of Modern Neural
    Networks"). 1 leaves a probability as it is. A higher one brings it closer to one half.

    Args:
        written: Temperature of the probability that a mention was written with.
        tags: Temperature of the probability that the text tags give a mention.

    Raises:
        ValueError: A temperature is not positive.
    """

    written: float = 1.0
    tags: float = 1.0

    def __post_init__(self) -> None:
        if not all(0 < each < math.inf for each in (self.written, self.tags)):
            raise ValueError(Errors.P026.format(written=self.written, tags=self.tags))

    def score(self, written: float | None, tagged: float | None, tag_share: float) -> float:
        """Compute the score of an entity.

        Args:
            written: The probability that it was written with; 0 if it could have been, and was not;
                `None` if it could not.
            tagged: The probability that the tags give it; `None` if they were not read.
            tag_share: The weight of the tags.

        Returns:
            The weighted mean of the two, or the only one.
        """
        if tagged is None:
            return temper(written or 0.0, self.written)
        if written is None:
            return temper(tagged, self.tags)
        share = tag_share
        return (1 - share) * temper(written, self.written) + share * temper(tagged, self.tags)


# Every probability as the model gives it.
UNCALIBRATED = Calibration()


def temper(probability: float, temperature: float) -> float:
    """Divide the log-odds of a probability by a temperature."""
    if temperature == 1 or not 0 < probability < 1:
        return probability
    log_odds = math.log(probability) - math.log1p(-probability)
    return 0.5 + 0.5 * math.tanh(0.5 * log_odds / temperature)
