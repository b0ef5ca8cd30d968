"""Names that classes had in earlier versions, as cards and run folders of those days still tell them."""

from __future__ import annotations

RENAMED_CLASSES = {
    "metasr.evaluation.protocol.LumaProtocol": "metasr.metrics.protocol.LumaProtocol",
    "metasr.meta.oracle.AdaptedFeatures": "metasr.models.teacher.AdaptedFeatures",
    "metasr.meta.oracle.OracleSR": "metasr.models.teacher.TeacherOracle",
    "metasr.meta.oracle.PairView": "metasr.models.teacher.PairView",
    "metasr.models.maml_sr_net.MamlSRNet": "metasr.models.maml_sr_net.MAMLSRNet",
    "metasr.recipes.maml_sr.MamlSR": "metasr.recipes.maml_sr.MAMLSRRecipe",
    "metasr.recipes.weighted.Weighted": "metasr.recipes.weightnet.WeightNetRecipe",
}
"""Full names, old to new."""
