"""Labels as a config states them → labels and their wording in the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import Errors

Labels = Sequence[str] | Mapping[str, str]


def make_wordings(labels: Labels) -> dict[str, str]:
    """labels (Union[Sequence[str], Mapping[str, str]]): Labels, or labels and their wording.
    RETURNS (Dict[str, str]): Label → its wording, by default the label itself.
    RAISES (ValueError): A single string.
    """
    if isinstance(labels, Mapping):
        return dict(labels)
    if isinstance(labels, str):
        raise ValueError(Errors.P203.format(labels=repr(labels)))
    return {label: label for label in labels}
