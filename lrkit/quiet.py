"""Silence third-party chatter at its source, so that a reader sees what matters.

`lrkit.session.start` calls `hush()`.
"""

from __future__ import annotations

import os
import warnings


def hush() -> None:
    """Turn off progress bars of downloads, advice and known harmless warnings."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    # PEFT remarks at each checkpoint that the head is adapted; we know.
    warnings.filterwarnings("ignore", message=".*save_embedding_layers.*")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    import datasets

    datasets.disable_progress_bars()
