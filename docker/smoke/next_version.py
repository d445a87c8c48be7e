"""Write a checkpoint anew under the next version, as a training run that went on would, in one step.

python next_version.py CHECKPOINT VERSION
"""

import sys
from pathlib import Path

from model_zoo import checkpoint
from model_zoo.card import Card


def main(path: Path, version: str) -> None:
    """Load, rename and save."""
    old = checkpoint.load(path)
    fields = {name: getattr(old.header, name) for name in Card.model_fields}
    checkpoint.save(path, old.network, Card.model_validate({**fields, "version": version}), dtype=old.header.dtype)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
