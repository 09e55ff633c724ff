"""The build hook of the wheel: object code of the kernels, so that no machine of the usual kinds compiles them.

It takes minutes, so that a wheel has it only if it is asked for: HATCH_BUILD_HOOK_ENABLE_CUSTOM=1.
"""

import shutil
import subprocess
import sys
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Kernels(BuildHookInterface):
    """Nothing is written beside the sources: what is made goes from a temporary folder into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # sources will change
            return
        self._made = tempfile.mkdtemp()
        subprocess.run(
            [sys.executable, "-m", "localmix.backends.numba.machine.ship", self._made], cwd=self.root, check=True
        )
        build_data["force_include"][self._made] = "localmix/backends/numba/shipped"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            shutil.rmtree(self._made)
