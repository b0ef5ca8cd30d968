"""Mistyped choices, before hydra sees them."""

import pytest
from omegaconf import OmegaConf

from metasr.errors import InputError
from metasr.experiment.cli_checks import check_choices, plain, sweep_as_run
from metasr.project import conf_folder
from running import compose


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("+experiment=mzsr_x22", r"no experiment 'mzsr_x22': did you mean .*'mzsr_x2'"),
        ("profile=smok", r"no profile 'smok': did you mean 'smoke'\? known: .*gpu.*paper.*quick"),
        ("solver=adpat", r"no solver 'adpat': did you mean 'adapt'"),
        ("data=div2", r"no data 'div2': did you mean 'div2k'"),
        ("logger=tensorboard", r"no logger 'tensorboard': known: csv, none, wandb"),
        ("+experiment=mzsr_x2,mzsr_y", r"no experiment 'mzsr_y'"),
        ("profil=smoke", r"no key 'profil': did you mean 'profile'"),
        ("data=set5", r"data=set5 is a test set, .*testset=set5; data to train on: bsds500, .*div2k.*samples"),
        ("experiment=mzsr_x2", r"write a plus before it: \+experiment=mzsr_x2"),
        ("+stage@stages.third=pretrian", r"no stage 'pretrian': did you mean 'pretrain'"),
    ],
)
def test_wrong_choices(argument: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_choices([argument], conf_folder())


@pytest.mark.parametrize(
    "argument",
    [
        "+experiment=mzsr_x2", "profile=smoke,quick", "seed=1,2", "task=evaluate", "run=last", "-m", "--cfg", "job",
        "weights=somewhere/x.pt", "profile=${oc.env:P}", "~logger", "testset=profile", "hydra/launcher=joblib",
        "input=", "--config-dir=conf", "logger=null",
    ],
)  # fmt: skip
def test_everything_else_is_left_to_hydra(argument: str) -> None:
    check_choices([argument], conf_folder())


def test_a_reports_sweep_is_one_of_its_runs() -> None:
    assert sweep_as_run(["task=report", "sweep=a/b", "to=wandb"]) == ["task=report", "runs=[a/b]", "to=wandb"]
    assert sweep_as_run(["task=report", "sweep='a b'"]) == ["task=report", "runs=['a b']"]
    for untouched in (["-m", "+sweep=seeds"], ["task=evaluate", "sweep=x"], ["task=report", "runs=[a]"]):
        assert sweep_as_run(untouched) == untouched
    for both in (["runs=[a]", "sweep=b"], ["sweep=a", "sweep=b"]):
        with pytest.raises(InputError, match=r"give one of sweep=FOLDER and 'runs=\[FOLDER,\.\.\.\]'"):
            sweep_as_run(["task=report", *both])


def test_hydras_messages_on_one_line() -> None:
    with pytest.raises(Exception, match="sead") as caught:
        compose("+experiment=mzsr_x2", "sead=1")
    text = plain(caught.value)
    assert "\n" not in text
    assert "Key 'sead' not in 'Schema'" in text
    assert "object_type" not in text


def test_our_own_messages_out_of_a_resolver_are_ours() -> None:
    cfg = compose("+experiment=mzsr_x2", f"run={__file__}")
    folder = OmegaConf.create({"d": "${metasr.run_folder:${run},x,run,/tmp}", "run": cfg.run})
    with pytest.raises(Exception, match="is a file") as caught:
        _ = folder.d
    assert plain(caught.value).startswith(f"run={__file__} is a file; give a folder")
