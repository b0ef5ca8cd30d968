"""The step-by-step table of MAML-SR's adaptation."""

from pathlib import Path

import pytest
import torch

import stopping
from metasr.errors import InputError
from metasr.solvers.maml_sr.stopping import Verdict
from running import compose, save_picture, train

TINY = ("+experiment=maml_sr_x2", "profile=smoke", "logger=none", "model.width=2", "stages.maml_sr.steps=1",
        "stages.maml_sr.validation.degradations=[]")  # fmt: skip


class Given:
    """A rule that says what it was given."""

    def __init__(self, *verdicts: str) -> None:
        self.verdicts = iter(verdicts)

    def __call__(self, sr: torch.Tensor, loss: float) -> Verdict:
        word = next(self.verdicts)
        return Verdict("keep" in word, "stop" in word, word, {})


@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        (("keep", "keep", "keep"), (2, 2)),
        (("keep", "go on", "keep"), (2, 2)),
        (("keep", "keep", "stop"), (1, 2)),
        (("keep", "stop", "never asked"), (0, 1)),
        (("keep", "keep and stop"), (1, 1)),
        (("keep", "go on", "go on"), (0, 2)),
    ],
)
def test_what_a_rule_keeps_and_where_it_stops(verdicts: tuple[str, ...], wanted: tuple[int, int]) -> None:
    outputs = [(torch.zeros(1, 3, 4, 4), 0.0)] * len(verdicts)
    assert stopping.ended(Given(*verdicts), outputs) == wanted


def test_the_table_agrees_with_the_solver_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from metasr.config import build
    from metasr.data.catalog import ImageSet
    from metasr.degradation.names import parse
    from metasr.io.images import list_images
    from metasr.runs.weights import from_run

    train(compose(*TINY), tmp_path / "run")
    save_picture(tmp_path / "photos" / "a.png", 40, 46)
    save_picture(tmp_path / "photos" / "b.png", 44, 40, seed=1)
    typed = ["--weights", str(tmp_path / "run"), "--steps", "3", "--degradations", "area", "--crop", "40"]
    choices = ["profile=smoke", "model.width=2", "solver.rate=1e-2"]
    stopping.main([str(tmp_path / "photos"), *typed, *choices])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[1] for row in rows] == ["fixed"] * 4 + ["metric", "consistency"]
    assert [float(row[2]) for row in rows[:4]] == [0, 1, 2, 3]
    assert (float(rows[0][4]), float(rows[0][5])) == (0, 0)
    images, area = ImageSet("images", "test", tuple(list_images(tmp_path / "photos"))), parse("area", scale=2)
    for stop, updates, row in (("fixed", 2, rows[2]), ("metric", 3, rows[4]), ("consistency", 3, rows[5])):
        cfg = compose(*TINY, *choices, f"solver.stop={stop}", f"solver.max_steps={updates}")
        solver, protocol = build.solver(cfg, weights=from_run(tmp_path / "run")), build.protocol(cfg)
        hrs = [images.load(0)[None][..., 3:43], images.load(1)[None][..., 2:42, :]]  # their middles
        solved = [solver.solve(area(hr), scale=2, degradation=area) for hr in hrs]
        psnr = [protocol(s.sr, hr, scale=2).psnr_y for s, hr in zip(solved, hrs, strict=True)]
        assert float(row[3]) == pytest.approx(sum(psnr) / 2, abs=0.006)
        if stop != "fixed":
            assert float(row[2]) == pytest.approx(sum(s.updates for s in solved) / 2, abs=0.06)


def test_what_is_chosen_by_the_program_cannot_be_typed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"solver\.stop=loss: it is chosen here"):
        stopping.main([str(tmp_path), "solver.stop=loss"])
    with pytest.raises(InputError, match="no folder"):
        stopping.main([str(tmp_path / "nowhere")])
