"""What is left of a fine-tuning: a checkpoint folder like any."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..checkpoints.loading import load_causal_lm
from ..checkpoints.options import LoadOptions
from ..checkpoints.saving import remove_weights, save_checkpoint, save_settings
from ..checkpoints.settings import CheckpointSettings
from .trainer import TreeTrainer

# Written last, so that one without it is of a training that was stopped as it saved.
_LAST_WRITTEN = "trainer_state.json"
# What Trainer keeps of its arguments, which nothing loads.
_ARGUMENTS = "training_args.bin"


def find_last_step(folder: Path) -> Path | None:
    """folder (Path): Where Trainer's checkpoints are.
    RETURNS (Optional[Path]): The last whole one, `None` without any.
    """
    found = [
        (int(path.name.rpartition("-")[2]), path)
        for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if path.name.rpartition("-")[2].isdigit() and (path / _LAST_WRITTEN).is_file()
    ]
    return max(found)[1] if found else None


def save_result(
    trainer: TreeTrainer,
    folder: Path,
    settings: CheckpointSettings,
    options: LoadOptions,
    *,
    merge: bool,
) -> None:
    """Write the checkpoint; every process has to call it, the first one writes.

    trainer (TreeTrainer): Has trained.
    folder (Path): Where to.
    settings (CheckpointSettings): What the model is to be run with.
    options (LoadOptions): How the model was loaded, for an adapter to be merged into.
    merge (bool): Whether an adapter was trained that is to be merged into its model.
    """
    if trainer.is_fsdp_enabled:
        # Whole weights, however they were divided in training.
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    written = folder / "steps" / "adapter" if merge else folder
    if trainer.args.should_save and not merge:
        remove_weights(folder)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(written))
    if trainer.args.should_save:
        (written / _ARGUMENTS).unlink(missing_ok=True)
        if merge:
            # Read anew: what was quantized for training is whole again, and merging rounds nothing.
            plain = LoadOptions(
                dtype=options.dtype,
                local_files_only=options.local_files_only,
                trust_remote_code=options.trust_remote_code,
            )
            lm = load_causal_lm(
                str(written), prefix_attention=settings.prefix_attention, options=plain
            )
            save_checkpoint(folder, lm, settings)
            shutil.rmtree(written)
        else:
            save_settings(folder, settings)
    trainer.accelerator.wait_for_everyone()
