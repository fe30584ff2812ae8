"""tvt doctor: what it says of machines, worlds that are broken in known ways included, and that it never fails itself."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from commands import PATIENCE, ROOT, tvt
from tvt.errors import Check, InputError, install
from tvt.study import this_machine as machine
from tvt.study.doctor import StudyChecks, cached, guarded
from tvt.study.executors import ray as ray_executor
from tvt.study.executors import slurm as slurm_executor
from tvt.train import probe as compiler
from tvt.train import train
from tvt.train.checks import machine_checks
from tvt.train.probe import Probe, compiler_checks

Torch = dict[str, Any]
H100: Torch = {"name": "H100", "memory": 80e9, "bfloat16": True}
V100: Torch = {"name": "V100", "memory": 32e9, "bfloat16": False}


def torch_with(*gpus: Torch, cuda: str | None = "12.8") -> Torch:
    return {"cuda": cuda, "available": bool(gpus), "devices": list(gpus)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: nothing cached, no GPU, no programs but those that a test puts into bin/."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT", *machine.OFFLINE, machine.VISIBLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    program(tmp_path, "nvidia-smi", "exit 9")
    return tmp_path


def program(home: Path, name: str, script: str) -> None:
    path = home / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def with_gpus(home: Path, *lines: str, cuda: str = "12.4") -> tuple[machine.Gpu, ...]:
    listed = "\\n".join(lines)
    program(home, "nvidia-smi", f'case "$*" in *query*) printf "{listed}\\n";; *) echo "| CUDA Version: {cuda} |";; esac')
    return machine.listed_gpus()


def verdicts(checks: Any) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def recipe(home: Path, **fields: Any) -> Path:
    told = {
        "name": "tiny",
        "model": {"model_name_or_path": "tvt/miniature", "dtype": "float32"},
        "manifests": ["miniature"],
        "sources": ["Jigsaw"],
        "targets": ["Jigsaw"],
        **fields,
    }
    (home / "recipe.yaml").write_text(json.dumps(told))
    return home / "recipe.yaml"


def of_recipe(home: Path, torch: Torch | None = None, **fields: Any) -> list[Check]:
    asked = StudyChecks.read(recipe(home, **fields), None)
    return [*asked.checks(), *asked.device_checks((), torch if torch is not None else torch_with(cuda=None))]


def the(checks: list[Check], name: str) -> Check:
    (found,) = (check for check in checks if check.name == name)
    return found


def test_oldest_versions_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def pins(lines: list[str]) -> dict[str, str]:
        return dict(line.partition(";")[0].split(">=") for line in lines if ">=" in line)

    extras = project["optional-dependencies"]
    assert pins(project["dependencies"]) == machine.CORE
    assert pins(extras["data"]) == machine.DATA
    assert pins(extras["train"]) == machine.TRAIN
    assert project["requires-python"] == ">=" + ".".join(map(str, machine.PYTHON))


def test_old_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {**machine.CORE, **machine.DATA, **machine.TRAIN, "clarabel": "0.11", "torch": "2.5.1+cu124", "numpy": "2.0rc1"}
    here.pop("av")
    monkeypatch.setattr(machine, "installed_version", here.get)
    found = {check.name: check for check in machine.package_checks()}
    assert verdicts(found.values()) == {
        "Python": "ok",
        "core": "ok",
        "solvers": "ok",
        "data extra": "warn",
        "train extra": "fail",
    }
    assert found["train extra"].found == "too old: torch 2.5.1+cu124 (needs 2.6)"
    assert found["data extra"].found == "not installed: av"
    here.pop("clarabel")
    assert machine.solvers().status == "fail"


def test_gpus_as_the_driver_lists_them(home: Path) -> None:
    assert machine.listed_gpus() == ()
    gpus = with_gpus(home, *["NVIDIA H100 80GB HBM3, 81559, 550.54, 9.0"] * 2, "Tesla V100, 32768, 550.54, 7.0")
    found = list(machine.gpu_checks(gpus, torch_with(H100, H100, V100)))
    assert [(check.status, check.found) for check in found] == [
        ("ok", "2 x NVIDIA H100 80GB HBM3, 80 GiB, bfloat16, driver 550.54"),
        ("warn", "1 x Tesla V100, 32 GiB, no bfloat16, driver 550.54"),
        ("ok", "built for CUDA 12.8, uses 3 GPUs"),
    ]


@pytest.mark.parametrize(
    ("built", "step"),
    [
        ("13.0", "the driver runs CUDA up to 12.4: install a newer driver, or a torch built for CUDA 12.4 or older"),
        ("12.4", "check CUDA_VISIBLE_DEVICES and the driver (nvidia-smi)"),
        (None, "install a torch with CUDA: this one was built for the CPU"),
    ],
)
def test_torch_that_sees_no_gpu(home: Path, built: str | None, step: str) -> None:
    gpus = with_gpus(home, "NVIDIA H100, 81559, 550.54, 9.0")
    told = list(machine.gpu_checks(gpus, torch_with(cuda=built)))[-1]
    assert (told.status, told.step) == ("fail", step)


def test_hidden_gpus_are_no_fault(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    gpus = with_gpus(home, "NVIDIA H100, 81559, 550.54, 9.0")
    assert verdicts(machine.gpu_checks(gpus, torch_with())) == {"GPUs": "ok", "visible": "ok", "torch": "ok"}


def test_a_probe_outlives_whatever_a_package_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    told = {
        "import os; os.kill(os.getpid(), 11)": "loading it ended the process (exit code -11)",
        "import time; time.sleep(600)": "loading it takes more than 2 s",
        "raise OSError('libcudart.so.13: cannot open')": "OSError: libcudart.so.13: cannot open",
        "raise SystemExit(3)": "SystemExit: 3",
    }
    for code, reason in told.items():
        (tmp_path / "deepspeed.py").write_text(code)
        with Probe("deepspeed", seconds=2 if "sleep" in code else PATIENCE) as probe:
            assert probe.answer() == {"error": reason}
    with Probe("no_such_package") as probe:
        assert probe.answer() is None
    found = list(machine.deepspeed_checks((), {"error": "ImportError: x"}))
    assert verdicts(found) == {"DeepSpeed": "fail"}


def test_what_deepspeed_builds_with(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home / "bin"))
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    tools = ["a C++ compiler (g++)", "ninja", "nvcc (a CUDA toolkit, CUDA_HOME)"]
    assert machine.build_tools_missing(cuda_home=None, gpus=True) == tools
    assert machine.build_tools_missing(cuda_home=None, gpus=False) == tools[:2]
    for name in ("g++", "ninja"):
        program(home, name, "exit 0")
    (home / "toolkit" / "bin").mkdir(parents=True)
    (home / "toolkit" / "bin" / "nvcc").touch()
    assert machine.build_tools_missing(cuda_home=str(home / "toolkit"), gpus=True) == []


@pytest.fixture
def bare(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where Triton is installed, with no programs but those in bin/ and nothing compiled yet."""
    for name in ("CC", "TRITON_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(home / "bin"))
    monkeypatch.setenv("TRITON_HOME", str(home))
    (home / "site" / "triton").mkdir(parents=True)
    (home / "site" / "triton" / "__init__.py").touch()
    monkeypatch.syspath_prepend(home / "site")
    return home


def test_what_triton_compiles_with(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> tuple[str, str]:
        (check,) = compiler_checks("GPUs", gpus=True)
        return check.status, check.line

    assert list(compiler_checks("GPUs", gpus=False)) == [], "on the CPU TRL takes PyTorch's operations"
    status, line = look()
    assert (status, line) == (
        "fail",
        "no C compiler (gcc, clang, or CC): TRL's loss compiles Triton kernels at the first step on a GPU; install gcc",
    )
    program(bare, "cc", "exit 0")
    assert look()[0] == "fail", "Triton does not look for cc"
    program(bare, "clang", "exit 0")
    assert look()[0] == "ok"
    monkeypatch.setenv("CC", "icx")
    status, line = look()
    assert status == "fail"
    assert "CC names icx, which is no program here" in line
    assert line.endswith("; mend CC or unset it")
    monkeypatch.setenv("CC", str(bare / "bin" / "cc"))
    assert look()[0] == "ok"
    monkeypatch.setattr(compiler, "headers", lambda: bare / "include")
    status, line = look()
    assert status == "fail"
    assert f"no Python.h in {bare}/include" in line
    assert line.endswith(f"; install Python's headers (python3.{sys.version_info[1]}-dev)")
    (bare / ".triton" / "cache" / "x").mkdir(parents=True)
    (bare / ".triton" / "cache" / "x" / "cuda_utils.cpython-311-x86_64-linux-gnu.so").touch()
    assert look()[0] == "warn", "an earlier run may have compiled all that is needed"


def test_the_headers_of_this_python_are_found() -> None:
    assert (compiler.headers() / "Python.h").is_file()


def test_a_run_on_a_gpu_without_a_compiler_is_refused_before_it_begins(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = StudyChecks.read(recipe(bare), None).recipe
    assert asked is not None
    assert list(machine_checks(asked)) == []
    monkeypatch.setenv(machine.VISIBLE, "0")
    with pytest.raises(InputError, match="no C compiler"):
        train(asked, bare / "rows", bare / "run", seed=0)
    assert not (bare / "run").exists()


def test_caches_are_measured_for_a_bounded_time(home: Path) -> None:
    (home / "cache" / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (home / "cache" / name).write_bytes(b"x" * 500)
    (home / "cache" / "link").symlink_to(home / "cache" / "a")
    size, whole = machine.measured(home / "cache")
    assert (1000 <= size < 1000 + 300, whole) == (True, True)
    assert machine.measured(home, seconds=-1)[1] is False
    told = {check.name: check.found for check in machine.cache_checks()}
    assert told["hub's cache"].endswith("not there yet")
    assert told["tvt's cache"].endswith("MB in cache")


def test_offline_variables(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.offline() is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert machine.offline() is None
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "yes")
    assert machine.offline() == "TRANSFORMERS_OFFLINE"
    (check,) = machine.network_checks()
    assert "TRANSFORMERS_OFFLINE is set" in check.found


def test_a_token_is_told_of_and_never_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (check,) = machine.network_checks()
    assert "with a token" in check.found
    assert "secret" not in check.found + check.step


def test_locks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = machine.lock_checks(home / "studies" / "new")
    assert (check.status, check.found) == ("ok", "hold at .")
    assert sorted(path.name for path in home.iterdir()) == ["bin"]  # nothing is left, nothing was made
    monkeypatch.setattr(fcntl, "flock", lambda handle, how: None)  # a disk that grants every lock
    (check,) = machine.lock_checks(home)
    assert check.status == "fail"

    def none(handle: Any, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    (check,) = machine.lock_checks(home)
    assert (check.status, "No locks available" in check.found) == ("fail", True)


def test_a_full_disk_and_one_that_cannot_be_written_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 5e8, "total": 1e12})())
    assert set(verdicts(machine.disk_checks(home / "studies")).values()) == {"warn"}
    monkeypatch.setattr(machine.os, "access", lambda place, how: False)
    found = list(machine.disk_checks(home / "studies"))
    assert [check.status for check in found] == ["fail"] * 3
    assert found[1].step == "set HF_HOME to a folder of yours"


def test_a_miniature_recipe_is_fine(home: Path) -> None:
    found = of_recipe(home)
    assert {check.status for check in found} == {"ok"}
    assert the(found, "base model").found == "tvt/miniature, which comes with tvt"


def test_faults_of_a_recipe_are_checks(home: Path) -> None:
    found = of_recipe(home, budget=0, seeds=[1, 1], sources=[])
    assert len(found) == 2
    assert {check.status for check in found} == {"fail"}
    missing = list(StudyChecks.read(home / "none.yaml", None).checks())
    assert [check.status for check in missing] == ["fail"]


def test_precision_and_bits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def model(**more: Any) -> dict[str, Any]:
        return {"model_name_or_path": "tvt/miniature", **more}

    assert the(of_recipe(home, model=model(dtype="float16")), "precision").status == "fail"
    assert the(of_recipe(home, torch_with(V100), model=model(dtype="bfloat16")), "precision").status == "fail"
    assert the(of_recipe(home, torch_with(H100), model=model(dtype="bfloat16")), "precision").status == "ok"
    assert the(of_recipe(home, model=model(load_in_4bit=True)), "4 bits").status == "warn"
    absent = {"bitsandbytes", "flash_attn", "kernels", "wandb"}
    for place in ("tvt.model.families.find_spec", "tvt.train.checks.find_spec"):
        monkeypatch.setattr(place, lambda name: None if name in absent else find_spec(name))
    monkeypatch.setattr("tvt.study.doctor.installed_version", lambda name: None if name == "torch" else "9")
    assert the(of_recipe(home), "packages").found == "not installed: torch"
    missing = [check for check in of_recipe(home, model=model(load_in_4bit=True)) if check.name == "4 bits"]
    assert {check.status for check in missing} == {"fail", "warn"}, "the package, and a GPU"
    assert the(of_recipe(home, model=model(attn_implementation="flash_attention_2")), "attention").status == "fail"
    tracker = the(of_recipe(home, runtime={"report_to": ["wandb"]}), "trackers")
    assert tracker.found == "runtime.report_to: wandb needs wandb, which is not installed"


def test_weights_against_the_smallest_gpu(home: Path) -> None:
    def memory(gpus: list[Torch], **model: Any) -> str:
        told = of_recipe(
            home,
            torch_with(*gpus),
            model={"model_name_or_path": "Some/VL-32B", **model},
            training={"per_device_train_batch_size": 1},
        )
        return the(told, "memory").status

    big = {"name": "H200", "memory": 141e9, "bfloat16": True}
    assert memory([big]) == "ok"
    assert memory([H100]) == "warn"  # 65 of 80 GB
    assert memory([big, V100]) == "fail"
    assert memory([V100], load_in_4bit=True) == "warn"  # 20 of 32 GB, 28 with a pass
    assert memory([{**V100, "memory": 48e9}], load_in_4bit=True) == "ok"
    assert memory([H100], dtype="float32") == "fail"


def test_pictures_against_the_smallest_gpu(home: Path) -> None:
    """A model that fits with ordinary pictures does not with photographs of 12 megapixels, unless they are scaled down."""

    def checks(**parts: Any) -> dict[str, Check]:
        model = {"model_name_or_path": "Some/VL-7B", "load_in_4bit": True, **parts.pop("model", {})}
        return {check.name: check for check in of_recipe(home, torch_with(H100), model=model, **parts)}

    plain = checks()
    assert plain["memory"].status == "ok"
    assert "8 rows of 3 pictures of 1,280 tokens" in plain["memory"].found
    assert "photographs of 12 megapixels would take 15,307 tokens each" in plain["pictures"].found
    assert "--set model.max_pixels=1003520" in plain["pictures"].step
    assert "pictures" not in checks(model={"max_pixels": 1_003_520})
    kept = checks(training={"gradient_checkpointing": False})["memory"]
    assert kept.status == "warn"
    assert "training.gradient_checkpointing=true" in kept.step


def test_more_processes_than_gpus(home: Path) -> None:
    found = of_recipe(home, torch_with(H100), runtime={"num_processes": 4})
    assert the(found, "processes").found == "4 processes a run, but 1 GPUs"


def test_executors(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "executor" not in {check.name for check in of_recipe(home)}
    spread = the(of_recipe(home, runtime={"num_machines": 2, "num_processes": 2}), "executor")
    assert (spread.found, spread.step) == ("local, but 2 machines a run", "--set runtime.executor=slurm")
    monkeypatch.setattr(ray_executor, "installed_version", lambda name: None)
    assert the(of_recipe(home, runtime={"executor": "ray"}), "executor").step == install("ray")
    monkeypatch.setattr(slurm_executor, "installed_version", lambda name: "1.2")
    monkeypatch.setenv("PATH", str(home / "bin"))
    slurm = {"executor": "slurm", "num_processes": 4}
    assert the(of_recipe(home, runtime=slurm), "executor").found == "slurm, but there is no sbatch here"
    program(home, "sbatch", "exit 0")
    here = of_recipe(home, torch_with(H100), runtime=slurm)
    assert the(here, "executor").status == "ok"
    assert "processes" not in {check.name for check in here}, "a login node's devices do no runs"


def test_deepspeed_files(home: Path) -> None:
    def of(name: str, **fields: Any) -> str:
        return the(of_recipe(home, runtime={"deepspeed": name}, **fields), "DeepSpeed file").status

    assert of("none.json") == "fail"
    assert of(str(ROOT / "recipes" / "deepspeed" / "zero2.json")) == "ok"
    quantised = {"model_name_or_path": "tvt/miniature", "load_in_4bit": True}
    assert of(str(ROOT / "recipes" / "deepspeed" / "zero3.json"), model=quantised) == "warn"
    (home / "offload.json").write_text('{"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}')
    assert of("offload.json") == "warn"


def test_models_in_the_hubs_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def base() -> Check:
        return the(of_recipe(home, model={"model_name_or_path": "Some/VL-1B"}), "base model")

    assert base().status == "warn"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert base().status == "fail"
    folder = home / "hf" / "hub" / "models--Some--VL-1B"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    snapshot = folder / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    assert cached("Some/VL-1B", None) == "partly"
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors.index.json").write_text('{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}')
    (snapshot / "1.safetensors").touch()
    assert "partly" in base().found
    (snapshot / "2.safetensors").touch()
    assert base().status == "ok"
    assert cached("Some/VL-1B", "c0ffee") == "whole"
    assert cached("Some/VL-1B", "decaf") == "not"
    missing = of_recipe(home, model={"model_name_or_path": "/no/such/model"})
    assert the(missing, "base model").step == "check the path"


def test_missing_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"manifests": [], "sources": ["Jigsaw", "Counting"], "targets": ["Jigsaw"]}
    found = [check for check in of_recipe(home, **wanted) if check.name == "data"]
    assert [check.status for check in found] == ["fail", "warn"]
    assert found[0].found.endswith("data_dir: Jigsaw, Counting")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert [check.status for check in of_recipe(home, **wanted) if check.name == "data"] == ["fail", "fail"]


def test_a_study_larger_than_the_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1e6, "total": 1e12})
    monkeypatch.setattr("tvt.study.doctor.shutil.disk_usage", lambda place: usage())
    assert the(of_recipe(home, model={"model_name_or_path": "Some/VL-7B"}), "disk").status == "fail"


def test_a_look_that_fails_is_told() -> None:
    def broken() -> list[Check]:
        raise RuntimeError("boom\nand more")

    (check,) = guarded("disk", broken)
    assert (check.status, check.found) == ("warn", "could not be checked (RuntimeError: boom)")


def test_command(home: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HUB_OFFLINE": "1", "COLUMNS": "80"}
    done = tvt("doctor", str(recipe(home)), "-o", str(home / "study"), "--json", **environment)
    assert done.returncode == 0, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert (told["schema"], told["ok"]) == (1, True)
    assert {check["status"] for check in told["checks"]} <= {"ok", "warn"}
    assert {"packages", "GPUs", "memory", "disk", "caches", "network", "recipe"} == {c["group"] for c in told["checks"]}
    assert told["versions"]["python"].startswith("3.")
    assert not (home / "study").exists()
    broken = tvt("doctor", str(recipe(home, sources=["Jigsaw", "Nothing"])), **environment)
    assert broken.returncode == 2
    assert "Traceback" not in broken.stderr
    assert re.search(r"FAIL +data", broken.stdout)
    assert max(map(len, broken.stdout.splitlines())) <= 80
    assert "1 of " in broken.stdout


def test_without_the_extras_it_still_says_all_it_knows(home: Path) -> None:
    """A package that cannot be found, as in a light install: nothing may import what is not there."""
    block = "import sys\nfor name in ('torch', 'deepspeed', 'transformers', 'huggingface_hub'):\n    sys.modules[name] = None\n"
    code = block + "from pathlib import Path\nfrom tvt.study.doctor import examine\nprint(len(examine(None, Path('s'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_a_folder_without_a_model(home: Path) -> None:
    (home / "model").mkdir()
    found = the(of_recipe(home, model={"model_name_or_path": "model", "dtype": "float32"}), "base model")
    assert (found.status, found.found) == ("fail", f"{home}/model: no file of a model is in it")
