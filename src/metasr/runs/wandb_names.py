"""What is called what on wandb: the same in every version, so that runs of different days stand in one panel.

A run of the program makes one wandb run per stage and one for its evaluation. Their **job type** is the stage's name,
or ``evaluate``; their **group** is the sweep's folder, or outside of one the run's own; their tags begin with the
experiment, and their config holds ``experiment``, ``sweep``, ``run_folder`` and ``stage`` beside all of the run's.

===================================================  ===================================================================
a stage's wandb run
===================================================  ===================================================================
``train/loss``, ``train/<name>``                     losses of the training step, against the step
``val/psnr_y/<degradation>@<updates>``, ``ssim_y``   validation images, after so many updates (``own``: the solver's)
``rates/step_<n>``                                   mean learned rate of an inner step
``val/sr``, ``val/maps``                             pictures of the first validation image
===================================================  ===================================================================

===================================================  ===================================================================
the evaluation's
===================================================  ===================================================================
``test/table``                                       table: means over the test images
``test/images``                                      table: every test image
``test/curves``                                      table: the solver's own loss by number of updates
``curves/psnr_y/<degradation>/<solver>/<weights>``   against ``curves/updates``
``curves/loss/<degradation>/<solver>/<weights>``     against ``curves/updates``
``test/kernels``, ``test/adaptation``                pictures of the blur kernels, and of the curves
``test/<image>_<degradation>``                       pictures: the solvers side by side
``test/psnr_y/<d>/<solver>/<weights>@<updates>``     summary; ``ssim_y`` likewise
===================================================  ===================================================================
"""

from __future__ import annotations

from pathlib import Path

EVALUATION = "evaluate"
"""The job type of an evaluation."""


def sweep_of(run: Path) -> str:
    """Name of the sweep in whose folder a run's lies, ``<experiment>/sweeps/<sweep>/<run>``; empty for none."""
    return run.parent.name if run.parent.parent.name == "sweeps" else ""


def group_of(run: Path) -> str:
    """The group of a run's jobs: its sweep, or itself, by folder name."""
    return sweep_of(run) or run.name


def score_name(metric: str, *, degradation: str, solver: str, weights: str, updates: float) -> str:
    """A test score's name in the summary, ``test/psnr_y/g2.0d/adapt/run@10``."""
    return f"test/{metric}/{degradation}/{solver}/{weights}@{updates:g}"
