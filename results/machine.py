"""What a figure was made on."""

from __future__ import annotations

import platform

import torch


def hardware() -> str:
    """What the numbers were made on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU ({platform.machine()}), {threads} thread{'s' * (threads > 1)}"
