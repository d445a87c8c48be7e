"""Print the requirements of a project, and of some of its extras, one a line, for a layer that code does not change.

python requirements.py pyproject.toml [EXTRA ...]
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path


def requirements(project: Path, extras: list[str]) -> Iterator[str]:
    """Give what the extras need; without any, what the project itself needs."""
    about = tomllib.loads(project.read_text())["project"]
    if not extras:
        yield from about["dependencies"]
    for extra in extras:
        yield from about["optional-dependencies"][extra]


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2:])))
