"""What launchers need of a job."""

import os

import pytest
from omegaconf import OmegaConf

from metasr.errors import InputError
from metasr.jobs import launching
from metasr.jobs.launching import is_first, join_processes, one_device, require_plugins
from running import compose

RUN = ("+experiment=mzsr_x2", "profile=smoke")


def config(launcher: str, sweeper: str = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"):
    return OmegaConf.create(
        {
            "hydra": {
                "launcher": {"_target_": launcher}, "sweeper": {"_target_": sweeper},
                "runtime": {"choices": {"hydra/launcher": "chosen", "hydra/sweeper": "tpe"}},
            }
        }
    )  # fmt: skip


@pytest.mark.parametrize(("package", "extra"), launching._EXTRAS.items())
def test_a_missing_plugin_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str, extra: str):
    monkeypatch.setattr(launching.importlib.util, "find_spec", lambda name: None)
    told = rf"hydra/launcher=chosen is not installed: pip install 'metasr\[{extra}\]', or pip install hydra-"
    with pytest.raises(InputError, match=told):
        require_plugins(config(f"hydra_plugins.{package}.x.Y"))


def test_plugins_that_are_there_and_hydras_own_pass(monkeypatch: pytest.MonkeyPatch):
    require_plugins(config("hydra._internal.core_plugins.basic_launcher.BasicLauncher"))
    require_plugins(config("hydra_plugins.of_somebody.x.Y"))
    monkeypatch.setattr(launching.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(launching.shutil, "which", lambda name: None)
    require_plugins(config("hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"))
    with pytest.raises(InputError, match=r"expected a node of a SLURM cluster, got one without `srun`; .*=local"):
        require_plugins(config("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"))
    monkeypatch.setattr(launching.shutil, "which", lambda name: name)
    require_plugins(config("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"))


@pytest.mark.parametrize(("devices", "one"), [("1", True), ("[3]", True), ("2", False), ("auto", False), ("-1", False)])
def test_how_many_devices_a_job_takes(devices: str, one: bool):
    assert one_device(compose(*RUN, f"trainer.devices={devices}").trainer.devices) == one


@pytest.mark.parametrize(
    ("choices", "tasks"),
    [((2, 1), 1), (("auto", 1), 1), ((2, 1), 3), ((2, 2), 2), ((1, 1), 2)],
)
def test_as_many_processes_as_devices(monkeypatch: pytest.MonkeyPatch, choices: tuple[object, int], tasks: int):
    devices, nodes = choices
    monkeypatch.setattr(launching, "_processes", lambda: tasks)
    with pytest.raises(InputError, match=rf"expected a process for each device, got {tasks} for trainer.devices=.*-m$"):
        join_processes(devices, nodes=nodes)


def test_lightning_is_told_of_submitits_processes(monkeypatch: pytest.MonkeyPatch):
    submitit = pytest.importorskip("submitit")
    for name, value in {"EXECUTOR": "local", "LOCAL_NTASKS": "2", "LOCAL_GLOBALID": "1", "LOCAL_LOCALID": "1",
                        "LOCAL_JOB_ID": "77"}.items():  # fmt: skip
        monkeypatch.setenv(f"SUBMITIT_{name}", value)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert submitit.JobEnvironment().num_tasks == 2
    assert is_first()
    join_processes(2)
    assert (os.environ["RANK"], os.environ["LOCAL_RANK"], os.environ["WORLD_SIZE"]) == ("1", "1", "2")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ  # Lightning chooses among all by the local rank
    assert not is_first()


def test_a_job_of_one_process_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    join_processes(1)
    join_processes([3])
    assert "RANK" not in os.environ
