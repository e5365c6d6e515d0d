"""What a wheel carries beside the code: the models and assets of the checkout. Everything else is in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("models", "assets", "LICENSE")  # into steering/_shipped, where steering.files.shipped() finds them
LEFT_OUT = ("assets/readme", "assets/dae/figures", "models/*/training.json")  # pictures and records of the README


class Build(build_py):
    """setuptools' build of the modules, then models and assets; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            carry(Path(self.build_lib) / "steering" / "_shipped")


def carry(target: Path) -> None:
    """Copy what is carried into `target`, in place of what an earlier build left there."""
    shutil.rmtree(target, ignore_errors=True)
    out = {path for pattern in LEFT_OUT for path in Path().glob(pattern)}

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder, name) in out]

    for name in CARRIED:
        if Path(name).is_dir():
            shutil.copytree(name, target / name, ignore=left_out)
        else:
            shutil.copy2(name, target / name)


setup(cmdclass={"build_py": Build})
