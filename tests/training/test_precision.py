import torch

from training.precision import determinism


def test_trap_53_deterministic_operations_are_asked_for_and_no_longer_than_wanted() -> None:
    found = []
    for is_wanted in (True, False):
        with determinism(is_wanted=is_wanted):
            found.append(torch.are_deterministic_algorithms_enabled())

    assert found == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()
