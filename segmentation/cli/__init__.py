"""The command ``cs-stem``."""

from segmentation.cli.main import main

__all__ = ["main"]
