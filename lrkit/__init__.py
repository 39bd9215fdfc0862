"""lrkit: the importable half of the latent-reasoning workbook."""

__version__ = "0.1.0"
