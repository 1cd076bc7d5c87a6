"""A clone of the working tree as a new user has it, with an environment that is installed already.

Installing takes a network and half a minute, and is what CI itself does first. So the environment is a
new one that finds the dependencies of the running interpreter, with the console script that pip would
put there and the mark of `make` that all is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALLED = ".installed-run"  # the Makefile's mark

SCRIPT = """#!{python}
import sys
from {module} import {function}
sys.exit({function}())
"""


def clone_into(folder: Path) -> Path:
    """Copy what git tracks, and what it would, into a folder; return it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout  # fmt: skip
    for name in sorted(set(os.fsdecode(listed).split("\0")) - {""}):
        source, target = ROOT / name, folder / name
        if source.is_file():  # else it was removed and git does not know yet
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
    return folder


def install_into(clone: Path) -> None:
    """Give a clone an environment in which everything is installed."""
    environment = clone / ".venv"
    venv.create(environment, symlinks=True, with_pip=False)
    ours = sysconfig.get_paths()
    theirs = sysconfig.get_path(
        "purelib", "venv", {"base": str(environment), "platbase": str(environment)}
    )
    paths = [str(clone), *dict.fromkeys([ours["purelib"], ours["platlib"]])]
    Path(theirs, "clone.pth").write_text("\n".join(paths) + "\n")
    scripts = tomllib.loads((clone / "pyproject.toml").read_text())["project"]["scripts"]
    for name, entry in scripts.items():
        module, _, function = entry.partition(":")
        script = environment / "bin" / name
        python = environment / "bin" / Path(sys.executable).name
        script.write_text(SCRIPT.format(python=python, module=module, function=function))
        script.chmod(0o755)
    (environment / INSTALLED).touch()
