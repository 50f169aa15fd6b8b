"""Generates the stubs from the repository's protos while the package is built.

Generated code is not kept in the repository: the protos are the one source.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROTOS = Path(__file__).resolve().parents[2] / "proto"
PACKAGES = [
    "monitorable/v1/monitorable",
    "bridge/v1/bridge",
    "monitor/v1/audit",
    "monitor/v1/evidence",
    "monitor/v1/monitor",
]


def generate(into: Path) -> None:
    """Writes the stubs of every package below a folder."""
    from grpc_tools import protoc
    import grpc_tools

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    files = [f"{package}.proto" for package in PACKAGES]
    arguments = [
        "protoc",
        f"-I{PROTOS}",
        f"-I{well_known}",
        f"--python_out={into}",
        f"--pyi_out={into}",
        f"--grpc_python_out={into}",
        *files,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit(f"the stubs could not be generated from {PROTOS}")


class BuildWithStubs(build_py):
    """The usual build, and the stubs beside it."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            generate(Path(self.build_lib))


setup(cmdclass={"build_py": BuildWithStubs})
