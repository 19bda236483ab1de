"""Labels as a config states them → labels and their wording in the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import Errors

Labels = Sequence[str] | Mapping[str, str]


def check_labels(labels: Labels) -> None:
    """labels (Union[Sequence[str], Mapping[str, str]]): Labels, or labels and their wording.
    RAISES (ValueError): A single string.
    """
    if isinstance(labels, str):
        raise ValueError(Errors.P203.format(labels=repr(labels)))


def make_wordings(labels: Labels, known: Mapping[str, str]) -> dict[str, str]:
    """labels (Union[Sequence[str], Mapping[str, str]]): Labels, or labels and their wording.
    known (Mapping[str, str]): Wordings a model already has for labels.
    RETURNS (Dict[str, str]): Label → its wording: the one given, else the known one, else the label
        itself.
    RAISES (ValueError): A single string.
    """
    check_labels(labels)
    if isinstance(labels, Mapping):
        return dict(labels)
    return {label: known.get(label, label) for label in labels}
