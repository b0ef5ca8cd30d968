"""Whether wandb knows who the user is."""

from __future__ import annotations

import inspect
import os


def logged_in() -> bool:
    """Whether there is an API key: in the environment, the settings, or the netrc file; nobody is asked for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    if "prompt" in inspect.signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False))
    return bool(wandb.api.api_key)  # before wandb 0.28
