"""Name what is exported in these tests."""

from collections.abc import Mapping

from model_zoo.spec import Argument, InputRule, ModelSpec

CLASSES = ("background", "cat", "dog", "straße")


def spec_of(architecture: str, arguments: Mapping[str, Argument], rule: InputRule | None = None) -> ModelSpec:
    """Give the spec of a network of four classes."""
    return ModelSpec(
        architecture=architecture,
        arguments=arguments,
        classes=CLASSES,
        palette=tuple((30 * i, 60 * i, 80 * i) for i in range(len(CLASSES))),
        input=rule or InputRule(),
    )
