"""What earlier versions called things, so that cards and run folders of those days are read like those of today."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

RENAMED_CLASSES = {
    "metasr.evaluation.protocol.LumaProtocol": "metasr.metrics.protocol.LumaProtocol",
    "metasr.meta.oracle.AdaptedFeatures": "metasr.models.teacher.AdaptedFeatures",
    "metasr.meta.oracle.OracleSR": "metasr.models.teacher.TeacherOracle",
    "metasr.meta.oracle.PairView": "metasr.models.teacher.PairView",
    "metasr.models.maml_sr_net.MamlSRNet": "metasr.models.maml_sr_net.MAMLSRNet",
    "metasr.recipes.maml_sr.MamlSR": "metasr.recipes.maml_sr.MAMLSRRecipe",
    "metasr.recipes.weighted.Weighted": "metasr.recipes.weightnet.WeightNetRecipe",
    "metasr.solvers.adapt.AdaptSolver": "metasr.solvers.mzsr.solver.MZSRSolver",
    "metasr.solvers.ddsr.DDSRSolver": "metasr.solvers.ddsr.solver.DDSRSolver",
    "metasr.solvers.ddsr_estimate.DDSREstimator": "metasr.solvers.blind.ddsr.DDSREstimator",
    "metasr.solvers.metric_constrained.MetricConstrainedSolver": "metasr.solvers.maml_sr.solver.MAMLSRSolver",
    "metasr.solvers.parametric.BlindBackProjectSolver": "metasr.solvers.blind.parametric.BlindBackProjectSolver",
    "metasr.solvers.parametric.ParametricEstimator": "metasr.solvers.blind.parametric.ParametricEstimator",
    "metasr.solvers.zssr.ZSSRSolver": "metasr.solvers.zssr.solver.ZSSRSolver",
}
"""Full names of classes, old to new."""

RENAMED_KEYS = {
    "beside": "compare_with",
    "only": "stages_to_run",
    "rates_rate": "rates_lr",
    "slice_minutes": "max_minutes",
}
"""Keys of the configuration, or parts of keys, old to new."""

ADDED_OPTIONS: dict[str, dict[str, Any]] = {
    "metasr.data.observations.ObservationSampler": {"hr_size": None},
    "metasr.meta.step_weights.StepWeights": {"before": 0.0},
    "metasr.recipes.kernel_regression.KernelRegression": {"rehearsed": 0},
    "metasr.recipes.maml_sr.MAMLSRRecipe": {"inner_loss": "deep", "unadapted_weight": 0.0},
    "metasr.recipes.student.Student": {"rehearsed": 0},
}
"""Options that classes got later, with the values by which they do what they did without them."""


def renamed(data: Any) -> Any:
    """Some data of a configuration, as this version would have written it; what it is given stays as it is."""
    if isinstance(data, Mapping):
        new = {RENAMED_KEYS.get(str(key), key): _value(str(key), value) for key, value in data.items()}
        return new | {k: v for k, v in ADDED_OPTIONS.get(str(new.get("_target_")), {}).items() if k not in new}
    return [renamed(value) for value in data] if isinstance(data, list) else data


def renamed_card(card: Mapping[str, Any], hash_of: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """A stage's card as this version would have written it.

    The hash of a renamed identity is made anew, if the card's own was that of its identity: a card that was tampered
    with stays one.

    Args:
        card: as read.
        hash_of: gives an identity's hash.
    """
    new = {key: renamed(value) if key in ("config", "identity") else value for key, value in card.items()}
    if "identity" in card and card.get("hash") == hash_of(card["identity"]):
        new["hash"] = hash_of(new["identity"])
    return new


def _value(key: str, value: Any) -> Any:
    return RENAMED_CLASSES.get(value, value) if key == "_target_" and isinstance(value, str) else renamed(value)
