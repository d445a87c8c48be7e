import hashlib
import io
from pathlib import Path

import pytest
import torch
from torch import nn

from training.errors import DamagedState
from training.evaluation.metrics import ConfusionMatrix
from training.state import Learner, Progress, bytes_needed, has_state, load_state, save_state


def learner(*, seed: int = 0, average: bool = True) -> Learner:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network(torch.randn(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    return Learner(network, optimizer, nn.Linear(1, 1) if average else None)


def test_trap_54_what_is_saved_comes_back_bit_by_bit(tmp_path: Path) -> None:
    before, after = learner(seed=1), learner(seed=2)
    scores = ConfusionMatrix(2)
    scores.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    progress = Progress(step=7, num_rows=2, seconds=3.25, loss_sum=0.1)
    progress.note(scores)

    save_state(tmp_path / "state", before, progress, data="d")
    found = load_state(tmp_path / "state", after, data="d")

    assert (found.step, found.num_rows, found.seconds, found.loss_sum) == (7, 2, 3.25, 0.1)
    assert found.best_iou == scores.mean_iou
    assert torch.equal(found.scores.counts, scores.counts)
    assert before.average is not None
    assert after.average is not None
    for one, other in ((before.network, after.network), (before.average, after.average)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    states = (before.optimizer.state_dict()["state"], after.optimizer.state_dict()["state"])
    assert all(
        torch.equal(value, states[1][place][name]) for place in states[0] for name, value in states[0][place].items()
    )


def test_the_two_newest_states_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        save_state(tmp_path, learner(), Progress(step=step), data="d")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000010.pt", "step-000000100.pt"]


def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    save_state(tmp_path, learner(), Progress(step=1), data="d")
    save_state(tmp_path, learner(), Progress(step=2), data="d")
    newest = tmp_path / "step-000000002.pt"
    newest.write_bytes(newest.read_bytes()[:1000])

    assert load_state(tmp_path, learner(), data="d").step == 1


@pytest.mark.parametrize("place", [100, -1000, -1])
def test_a_flipped_bit_is_noticed(tmp_path: Path, place: int) -> None:
    save_state(tmp_path, learner(), Progress(step=1), data="d")
    path = tmp_path / "step-000000001.pt"
    blob = bytearray(path.read_bytes())
    blob[place] ^= 1
    path.write_bytes(blob)

    with pytest.raises(DamagedState, match="cannot be read"):
        load_state(tmp_path, learner(), data="d")


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04"])
def test_states_that_cannot_be_read_are_told_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "step-000000001.pt").write_bytes(content)

    with pytest.raises(DamagedState, match=r"step-000000001\.pt cannot be read"):
        load_state(tmp_path, learner(), data="d")


def test_trap_55_a_state_with_code_in_it_is_not_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]  # what it calls

    body = io.BytesIO()
    torch.save({"network": Bomb()}, body)
    digest = hashlib.sha256(body.getvalue()).digest()
    (tmp_path / "step-000000001.pt").write_bytes(body.getvalue() + digest)

    with pytest.raises(DamagedState):
        load_state(tmp_path, learner(), data="d")

    assert not (tmp_path / "ran").exists()


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, learner(), Progress(step=1), data="d")
    other = nn.Linear(1, 1)

    with pytest.raises(DamagedState, match="is not of this network"):
        load_state(tmp_path, Learner(other, torch.optim.SGD(other.parameters())), data="d")


def test_a_state_of_other_images_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, learner(), Progress(step=1), data="d")

    with pytest.raises(DamagedState, match="has learnt other images or classes"):
        load_state(tmp_path, learner(), data="e")


def test_a_state_that_cannot_be_written_leaves_the_others_alone(tmp_path: Path) -> None:
    save_state(tmp_path, learner(), Progress(step=1), data="d")
    (tmp_path / "step-000000002.pt").mkdir()
    (tmp_path / "step-000000002.pt" / "file").touch()

    with pytest.raises(OSError, match="directory"):
        save_state(tmp_path, learner(), Progress(step=2), data="d")

    (tmp_path / "step-000000002.pt" / "file").unlink()
    (tmp_path / "step-000000002.pt").rmdir()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.pt"]


def test_what_a_run_needs_is_at_least_what_its_states_take(tmp_path: Path) -> None:
    network = nn.Linear(400, 400)
    network(torch.randn(1, 400)).sum().backward()
    optimizer = torch.optim.AdamW(network.parameters())
    optimizer.step()
    one = Learner(network, optimizer)
    for step in (1, 2):
        save_state(tmp_path, one, Progress(step=step), data="d")

    taken = sum(path.stat().st_size for path in tmp_path.iterdir())

    assert has_state(tmp_path)
    assert taken < bytes_needed(one) < 3 * taken
