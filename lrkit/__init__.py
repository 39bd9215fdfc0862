"""lrkit: the importable half of the latent-reasoning workbook."""

import logging

__version__ = "0.1.0"

# bitsandbytes looks for an optional compiled kernel at import, and warns without it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
