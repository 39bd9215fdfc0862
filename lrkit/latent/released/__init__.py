"""Other people's published weights in our core, for our controls to be run on them.

    key_map      where each tensor of a file belongs
    strict       the loader: every tensor, row and weight is counted
    files        local folders, the hub's cache, safetensors, torch, shards
    checkpoint   a checkpoint with its base's configuration, and an empty model
    tables       the part of a key map that concerns the base
    prompts      the authors' prompts, and how they read an answer
    release      a loaded model: solver, answers, controls
    codi, coconut, adaptive, latent_sft
                 a family each: which file of which repository its map follows, what is
                 known of the files, and what could not be found out
    families     which hub ids there are; `load_released`

None of these weights is part of this repository, and none was at hand when the maps
were written: they are tested on small random models saved under the authors' names.

    python -m lrkit.latent.released codi zen-E/CODI-gpt2 --download \\
        --task gsm8k --source openai/gsm8k@COMMIT --split test --controls
"""

from lrkit.latent.released.families import FAMILIES, load_released

__all__ = ["FAMILIES", "load_released"]
