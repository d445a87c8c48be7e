"""How the smoke test judges what its load has written down."""

import json
import subprocess
import sys
from pathlib import Path

KILL = json.dumps({"phase": "kill", "when": 100.0, "replaced": 110.0})
TABLE = Path(__file__).parents[2] / "docker/smoke/table.py"


def request(phase: str, number: int, *, status: int = 200, start: float = 100.0, seconds: float = 0.1) -> str:
    problem = "" if status == 200 else "gone"
    event = {"phase": phase, "start": start, "seconds": seconds, "status": status, "problem": problem}
    return json.dumps({**event, "request_id": f"load-{number}", "version": "1"})


def gateway_line(number: int, *, replica: str, retries: str = "0", time: float = 100.0) -> str:
    event = {"event": "request", "request_id": f"load-{number}", "replica": replica, "retries": retries, "time": time}
    return json.dumps(event)


def judge(folder: Path, requests: list[str], *, log: list[str] | None = None, kills: str = "") -> tuple[int, str]:
    files = {"requests": requests, "log": log or [], "kills": [kills] if kills else []}
    for name, lines in files.items():
        (folder / name).write_text("".join(line + "\n" for line in lines))
    command = [sys.executable, str(TABLE), str(folder / "requests")]
    command += ["--gateway-log", str(folder / "log"), "--kills", str(folder / "kills")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_requests_are_counted_by_phase_with_their_percentiles(tmp_path: Path) -> None:
    begun = json.dumps({"phase": "steady", "begins": 1.0})
    answered = [request("steady", number, seconds=number / 1000) for number in range(1, 101)]

    code, table = judge(tmp_path, [begun, *answered])

    assert code == 0
    assert "| steady | 100 | 100 | 0 | 50 | 99 |" in table


def test_a_failed_request_is_wrong_where_nothing_was_killed(tmp_path: Path) -> None:
    code, table = judge(tmp_path, [request("steady", 1), request("steady", 2, status=502)])

    assert code == 1
    assert "WRONG: steady: load-2: 502 gone" in table


def test_a_phase_without_requests_is_wrong(tmp_path: Path) -> None:
    code, table = judge(tmp_path, [json.dumps({"phase": "steady", "begins": 1.0})])

    assert code == 1
    assert "nothing was asked" in table


def test_what_was_in_work_in_a_killed_replica_may_fail(tmp_path: Path) -> None:
    requests = [request("kill", 1, status=502, start=99.9, seconds=0.2), request("kill", 2)]
    log = [gateway_line(1, replica="replica-1"), gateway_line(2, replica="replica-2")]

    code, table = judge(tmp_path, requests, log=log, kills=KILL)

    assert code == 0, table


def test_what_was_sent_after_a_kill_may_not_fail(tmp_path: Path) -> None:
    log = [gateway_line(1, replica="replica-1")]

    code, table = judge(tmp_path, [request("kill", 1, status=502, start=100.5)], log=log, kills=KILL)

    assert code == 1
    assert "WRONG: kill: load-1: 502 gone" in table


def test_two_replicas_may_not_fail_where_one_was_killed(tmp_path: Path) -> None:
    requests = [request("kill", number, status=502, start=99.9, seconds=0.2) for number in (1, 2)]
    log = [gateway_line(1, replica="replica-1"), gateway_line(2, replica="replica-2")]

    code, table = judge(tmp_path, requests, log=log, kills=KILL)

    assert code == 1
    assert "replica-1, replica-2" in table


def test_a_request_that_had_ended_before_a_kill_did_not_fail_for_it(tmp_path: Path) -> None:
    code, table = judge(tmp_path, [request("kill", 1, status=502, start=90.0)], kills=KILL)

    assert code == 1, table


def test_the_successor_of_a_killed_replica_may_be_tried_before_it_listens(tmp_path: Path) -> None:
    log = [gateway_line(1, replica="replica-2", retries="+1", time=111.0)]

    code, table = judge(tmp_path, [request("kill", 1)], log=log, kills=KILL)

    assert code == 0, table


def test_a_gateway_that_goes_on_trying_a_killed_replica_is_wrong(tmp_path: Path) -> None:
    log = [gateway_line(1, replica="replica-2", retries="+1", time=103.0)]

    code, table = judge(tmp_path, [request("kill", 1)], log=log, kills=KILL)

    assert code == 1
    assert "until 3.00 s after the kill" in table
