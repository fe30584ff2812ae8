"""``scripts/setup-env`` keeps what it did not make, and installs with what an environment has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands import ROOT

SHELL = shutil.which("dash") or "sh"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The script in a clone without anything to install; what stands for pip and uv writes down how it was called."""
    root = tmp_path / "clone"
    (root / "scripts").mkdir(parents=True)
    for name in ("setup-env", "constraints-cpu.txt"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts" / name)
    shutil.copy(ROOT / "pyproject.toml", root / "pyproject.toml")
    return root


def setup(clone: Path, venv: Path, kind: str = "light", *, path: Path | None = None, **variables: str):
    # An index on a closed port is none that can be reached.
    env = {**os.environ, "TVT_VENV": str(venv), "TVT_TORCH_INDEX": "http://127.0.0.1:9", **variables}
    env["PATH"] = os.pathsep.join([*([str(path)] if path else []), env["PATH"]])
    return subprocess.run([SHELL, "scripts/setup-env", kind], cwd=clone, env=env, capture_output=True, text=True, check=False)


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n" + text, encoding="utf-8")
    file.chmod(0o755)


def environment(folder: Path, log: Path, *, pip: bool = True) -> None:
    """An environment whose Python is this one, except that pip only writes down its arguments."""
    refuse = "" if pip else "case $2 in pip|ensurepip) exit 1 ;; esac\n"
    body = f'if [ "$1" = -m ]; then {refuse} echo "$@" >>"{log}"; exit 0; fi\nexec "{sys.executable}" "$@"\n'
    program(folder / "bin" / "python", body)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n", encoding="utf-8")


@pytest.mark.parametrize("name", ["setup-env", "quickstart"])
def test_the_shell_is_sound(name: str) -> None:
    shell = SHELL if (ROOT / "scripts" / name).read_text(encoding="utf-8").startswith("#!/bin/sh") else "bash"
    subprocess.run([shell, "-n", str(ROOT / "scripts" / name)], check=True)


@pytest.mark.parametrize("name", ["my thesis", "-rf", "thesis"])
def test_a_folder_that_is_no_environment_is_refused_and_stays(clone: Path, name: str) -> None:
    folder = clone / name
    (folder / "chapters").mkdir(parents=True)
    (folder / "chapters" / "1.tex").write_text("all of it", encoding="utf-8")
    done = setup(clone, Path(name) if name.startswith("-") else folder)
    assert done.returncode == 2
    assert done.stderr.endswith("not empty and no virtual environment; name another folder in TVT_VENV\n")
    assert (folder / "chapters" / "1.tex").read_text(encoding="utf-8") == "all of it"


def test_a_hidden_file_and_a_file_are_refused(clone: Path) -> None:
    hidden = clone / "folder"
    hidden.mkdir()
    (hidden / ".notes").write_text("x", encoding="utf-8")
    assert setup(clone, hidden).returncode == 2
    assert (hidden / ".notes").exists()
    file = clone / "file"
    file.write_text("x", encoding="utf-8")
    done = setup(clone, file)
    assert (done.returncode, file.read_text(encoding="utf-8")) == (2, "x")
    link = clone / "link"
    link.symlink_to(clone / "nowhere")
    assert setup(clone, link).returncode == 2


@pytest.mark.parametrize("there", [True, False])
def test_an_absent_and_an_empty_folder_become_an_environment(clone: Path, there: bool) -> None:
    folder, log = clone / "an env", clone / "log"
    if there:
        folder.mkdir()
    make = f'for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python"; echo "$@" >>"{log}"; exit 0'
    program(clone / "bin" / "python", f'if [ "$1" = -m ]; then {make}; fi\nexec "{sys.executable}" "$@"\n')
    done = setup(clone, folder, TVT_PYTHON=str(clone / "bin" / "python"))
    assert done.returncode == 0, done.stderr
    assert log.read_text(encoding="utf-8").splitlines()[0] == f"-m venv -- {folder}"
    assert (folder / ".tvt-light").is_file()


def test_an_environment_is_used_as_it_is_and_installed_into_once(clone: Path) -> None:
    folder, log = clone / "venv", clone / "log"
    environment(folder, log)
    (folder / "mine.txt").write_text("x", encoding="utf-8")
    assert setup(clone, folder).returncode == 0
    assert setup(clone, folder).returncode == 0
    calls = log.read_text(encoding="utf-8").splitlines()
    assert [line for line in calls if "install" in line] == ["-m pip install --quiet --disable-pip-version-check -e ."]
    assert (folder / "mine.txt").exists()


def test_a_conda_environment_is_one(clone: Path) -> None:
    folder, log = clone / "conda", clone / "log"
    environment(folder, log)
    (folder / "pyvenv.cfg").unlink()
    (folder / "conda-meta").mkdir()
    assert setup(clone, folder).returncode == 0
    (folder / "bin" / "python").unlink()
    done = setup(clone, folder)
    assert done.returncode == 2
    assert "a conda environment without Python; conda install -p" in done.stderr


def test_an_environment_of_uv_has_no_pip(clone: Path) -> None:
    folder, log = clone / "venv", clone / "log"
    environment(folder, log, pip=False)
    program(clone / "bin" / "uv", f'echo "uv $@" >>"{log}"\n')
    done = setup(clone, folder, path=clone / "bin")
    assert done.returncode == 0, done.stderr
    (call,) = log.read_text(encoding="utf-8").splitlines()
    assert call.startswith("uv pip install")
    assert f"--python {folder}/bin/python" in call


def test_another_python_is_refused(clone: Path) -> None:
    folder = clone / "venv"
    environment(folder, clone / "log")
    program(folder / "bin" / "python", 'case $2 in *version_info*) exit 1 ;; esac\necho "Python 3.9.1"\n')
    done = setup(clone, folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "has Python 3.9.1, and tvt needs Python 3.11 to 3.14" in done.stderr
    done = setup(clone, clone / "new", TVT_PYTHON=str(folder / "bin" / "python"))
    assert done.returncode == 2
    assert not (clone / "new").exists()


@pytest.mark.parametrize(
    ("system", "machine", "code"), [("Darwin", "x86_64", 2), ("Darwin", "arm64", 0), ("Linux", "x86_64", 0)]
)
def test_what_torch_is_built_for(clone: Path, system: str, machine: str, code: int) -> None:
    folder, log = clone / "venv", clone / "log"
    environment(folder, log)
    program(clone / "bin" / "uname", f"case $1 in -s) echo {system} ;; *) echo {machine} ;; esac\n")
    program(clone / "bin" / "nvidia-smi", "exit 1\n")
    done = setup(clone, folder, "train", path=clone / "bin")
    assert done.returncode == code, done.stderr
    if code:
        assert "Intel Macs" in done.stderr
        return
    install = log.read_text(encoding="utf-8").splitlines()[-1]
    assert ("constraints-cpu.txt" in install) == (system == "Linux")
    assert "--extra-index-url" not in install  # none that can be reached
