"""A preset as a config names it → the preset."""

from __future__ import annotations

from spacy import registry

from ..errors import Errors
from ..prompt.presets import PRESETS, Preset, find_preset


def get_preset(preset: str | Preset) -> Preset:
    """preset (Union[str, Preset]): One of the paper's datasets, a function of spaCy's registry
        `misc` that returns a preset, or a preset.
    RETURNS (Preset): The preset.
    RAISES (ValueError): There is no such preset.
    """
    if isinstance(preset, Preset):
        return preset
    found = find_preset(preset)
    if found is None and preset in registry.misc:
        found = registry.misc.get(preset)()
    if not isinstance(found, Preset):
        raise ValueError(Errors.P210.format(name=preset, names=", ".join(PRESETS)))
    return found
