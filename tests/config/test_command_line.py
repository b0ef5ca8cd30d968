"""Mistyped choices, before hydra sees them."""

import re
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from metasr.config.command_line import check_choices, options_first, plain, sweep_as_run
from metasr.errors import InputError
from metasr.paths import conf_folder
from running import compose


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("+experiment=mzsr_x22", r"no experiment 'mzsr_x22': did you mean .*'mzsr_x2'"),
        ("profile=smok", r"no profile 'smok': did you mean 'smoke'\? known: .*gpu.*paper.*quick"),
        ("solver=adpat", r"no solver 'adpat': did you mean 'adapt'"),
        ("data=div2", r"no data 'div2': did you mean 'div2k'"),
        ("logger=tensorbord", r"no logger 'tensorbord': did you mean 'tensorboard'\? known: csv, none, tensor"),
        ("+experiment=mzsr_x2,mzsr_y", r"no experiment 'mzsr_y'"),
        ("profil=smoke", r"no key 'profil': did you mean 'profile'"),
        ("mode=faithful", r"^no key 'mode': it is an option of solvers \(ddsr\); write solver\.mode=faithful$"),
        ("tile=64", r"an option of solvers \(adapt, .*network.*, zssr.*\); write solver\.tile=64$"),
        ("data=set5", r"data=set5 is a test set, .*testset=set5; data to train on: bsds500, .*div2k.*samples"),
        ("experiment=mzsr_x2", r"write a plus before it: \+experiment=mzsr_x2"),
        ("runs=/a/b", r"runs=/a/b: a list was expected; write 'runs=\[/a/b\]'$"),
        ("only=[pretrain]", r"^only is now called stages_to_run: write stages_to_run=\[pretrain\]$"),
        ("slice_minutes=9", r"write max_minutes=9$"),
        ("beside.oracle=null", r"write compare_with\.oracle=null$"),
        ("~beside.oracle=", r"write ~compare_with\.oracle=$"),
        ("stages.meta_transfer.recipe.rates_rate=0.1", r"write stages\.meta_transfer\.recipe\.rates_lr=0\.1$"),
        ("budget.pretrain.steps=9", r"^budget\.pretrain\.steps is gone: .* --cfg job shows, such as stages\.pretrain"),
        ("testset=a=b", r"^testset=a=b: a value that holds = stands in quotes; write \"testset='a=b'\"$"),
        ("stages_to_run=pretrain,meta_transfer", r"write 'stages_to_run=\[pretrain,meta_transfer\]'$"),
        ("degradations=g2.0d", r"write 'degradations=\[g2.0d\]'$"),
        ("+stage@stages.third=pretrian", r"no stage 'pretrian': did you mean 'pretrain'"),
    ],
)
def test_wrong_choices(argument: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_choices([argument], conf_folder())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("+experiment=mrda_x4_iso scale=2",
         r"^mrda_x4_iso is of scale 4, not 2: write \+experiment=mrda_x4_iso scale=2 name=mrda_x2_iso$"),
        ("+experiment=mzsr_x2 task=upscale scale=4", r"^mzsr_x2 is of scale 2, not 4: write \+experiment=mzsr_x4$"),
        ("+experiment=mzsr_x2_bicubic scale=1.5", r"scale=1\.5 name=mzsr_x1\.5_bicubic$"),
        ("-m +experiment=zssr_x2 scale=2,3", r"^zssr_x2 is of scale 2, not 3: write \+experiment=zssr_x3$"),
    ],
)  # fmt: skip
def test_a_name_tells_its_scale(arguments: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_choices(arguments.split(), conf_folder())


@pytest.mark.parametrize(
    "arguments",
    ["+experiment=mrda_x4_iso scale=4.0", "+experiment=mrda_x4_iso scale=2 name=mrda_x2_iso",
     "+experiment=mzsr_multiscale scale=3", "scale=3", "+experiment=mzsr_x2 scale=${other}"],
)  # fmt: skip
def test_other_scales_are_fine_by_another_name(arguments: str) -> None:
    check_choices(arguments.split(), conf_folder())


@pytest.mark.parametrize("form", ["--config-dir {0}", "--config-dir={0}", "-cd {0}", "hydra.searchpath=[file://{0}]"])
def test_choices_in_a_folder_of_one_s_own(tmp_path: Path, form: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("name: mine\n", encoding="utf-8")
    (tmp_path / "flavour").mkdir()
    given = form.format(tmp_path).split()
    check_choices([*given, "+experiment=mine"], conf_folder())
    check_choices([*given, "flavour="], conf_folder())
    with pytest.raises(InputError, match=r"no experiment 'mein': did you mean 'mine'"):
        check_choices([*given, "+experiment=mein"], conf_folder())
    with pytest.raises(InputError, match=r"no experiment 'mine'"):
        check_choices(["+experiment=mine"], conf_folder())
    with pytest.raises(InputError, match=r"ablation final_loss is for mzsr_\*, not for mine"):
        check_choices([*given, "+experiment=mine", "+ablation=final_loss"], conf_folder())


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("+experiment=maml_sr_x3 +ablation=no_pretraining",
         r"^ablation no_pretraining is for mzsr_\*, not for maml_sr_x3; for it there is maml_sr_both, .*_supervision$"),
        ("+experiment=weightnet_x2 +ablation=final_loss", r"final_loss is for mzsr_\*, .*; for it there is none$"),
        ("+experiment=mzsr_x2,weightnet_x2 +ablation=first_order", r"first_order is for mzsr_\*, not for weightnet_x2"),
        ("+experiment=mzsr_x4 +ablation=[first_order,maml_sr_both]", r"ablation maml_sr_both is for maml_sr_\*, not"),
        ("-m +experiment=maml_sr_x2 +sweep=mzsr_ablation", r"^sweep mzsr_ablation is for mzsr_\*, not for maml_sr_x2"),
        ("-m +experiment=maml_sr_x2 +sweep=seeds +ablation=first_order,maml_sr_both", "ablation first_order is for"),
        ("+experiment=mzsr_x4 meta_set=texture",
         "^mzsr_x4 learns from no meta-data set: leave out meta_set, or take .* that has one: weightnet_x2$"),
        ("+experiment=maml_sr_x4 +meta_set=structure,texture", "maml_sr_x4 learns from no meta-data set"),
    ],
)  # fmt: skip
def test_choices_that_are_for_other_experiments(arguments: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_choices(arguments.split(), conf_folder())


@pytest.mark.parametrize(
    "arguments",
    [
        "+experiment=mzsr_multiscale +ablation=no_pretraining", "+experiment=maml_sr_x4 +ablation=maml_sr_both",
        "-m +experiment=mzsr_x4 +sweep=mzsr_ablation", "-m +experiment=maml_sr_x3 +sweep=maml_sr_ablation",
        "-m +experiment=maml_sr_x2 +sweep=seeds +ablation=maml_sr_both",  # what is typed wins
        "+experiment=weightnet_x2 meta_set=texture", "-m +experiment=weightnet_x2,mzsr_x2 +sweep=seeds",
        "+experiment=mzsr_x2 +ablation=null", "+ablation=first_order",
    ],
)  # fmt: skip
def test_choices_that_are_for_the_experiment(arguments: str) -> None:
    check_choices(arguments.split(), conf_folder())


def test_sweeps_too_may_state_their_experiments(tmp_path: Path) -> None:
    for group, text in (("experiment", "name: a1"), ("sweep", "for_experiments: [b*, c1]")):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{'a1' if group == 'experiment' else 'wide'}.yaml").write_text(text)
    (tmp_path / "experiment" / "b2.yaml").touch()
    check_choices(["+experiment=b2", "+sweep=wide"], tmp_path)
    with pytest.raises(InputError, match=r"sweep wide is for b\*, c1, not for a1; for it there is none"):
        check_choices(["+experiment=a1", "+sweep=wide"], tmp_path)


def test_an_experiment_may_have_its_meta_data_set_from_the_one_it_builds_on(tmp_path: Path) -> None:
    defaults = {
        "base": "- override /meta_set: x",
        "built": "- base\n- _self_",
        "other": "- /stage/y@stages.y\n- _self_",
    }
    for group, files in (("experiment", defaults), ("meta_set", {"x": "", "z": ""})):
        (tmp_path / group).mkdir()
        for name, text in files.items():
            (tmp_path / group / f"{name}.yaml").write_text(f"defaults:\n{text}")
    check_choices(["+experiment=built", "meta_set=z"], tmp_path)
    with pytest.raises(InputError, match=r"^other learns from no meta-data set: .*: base, built$"):
        check_choices(["+experiment=other", "meta_set=z"], tmp_path)


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
    assert "did you mean 'seed'" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("solver.thresold=1", r"Key 'thresold' is not in struct; did you mean 'threshold'\? known: .*max_steps, mixed"),
        ("stages.maml_sr.recipe.oder=first", "did you mean 'order'"),
        ("stages.maml=null", r"did you mean 'maml_sr'\? known: maml_sr$"),
        (
            "data.rot=x",
            r"Key 'rot' not in 'DataConf'; did you mean 'root' or 'lr_root'\? known: column, download, lr_root",
        ),
    ],
)
def test_mistyped_sub_keys_get_the_nearest_ones(override: str, message: str) -> None:
    with pytest.raises(HydraException) as caught:
        compose("+experiment=maml_sr_x2", override)
    text = plain(caught.value)
    assert re.search(message, text), text
    assert "\n" not in text


def test_our_own_messages_out_of_a_resolver_are_ours() -> None:
    cfg = compose("+experiment=mzsr_x2", f"run={__file__}")
    folder = OmegaConf.create({"d": "${metasr.run_folder:${run},x,run,/tmp}", "run": cfg.run})
    with pytest.raises(Exception, match="is a file") as caught:
        _ = folder.d
    assert plain(caught.value).startswith(f"run={__file__} is a file; give a folder")


@pytest.mark.parametrize(
    ("typed", "want"),
    [
        (["+e=x", "--config-dir", "a=b", "seed=2"], ["--config-dir", "a=b", "+e=x", "seed=2"]),
        (["a=1", "-m", "b=1,2"], ["-m", "a=1", "b=1,2"]),
        (["a=1", "--cfg", "job", "--config-dir=d", "~b"], ["--cfg", "job", "--config-dir=d", "a=1", "~b"]),
        (["a=1", "b=-2", ""], ["a=1", "b=-2", ""]),
        (["a=1", "--info"], ["a=1", "--info"]),
    ],
)
def test_options_come_before_choices(typed: list[str], want: list[str]) -> None:
    assert options_first(typed) == want
