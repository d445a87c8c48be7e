"""Hold the pinned versions against the database of known vulnerabilities; where it cannot be reached, say so and go on.

python .ci/audit.py constraints.txt
"""

import json
import subprocess
import sys

_PATIENCE = 120


def main(requirements: str) -> int:
    """Ask pip-audit; give 1 if a version is known to be vulnerable, else 0."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    command += ["--requirement", requirements, "--no-deps", "--disable-pip"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # noqa: S603  # ours
        found = json.loads(answer.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        found = []
    audited = [package for package in found if "vulns" in package]
    for package in audited:
        for flaw in package["vulns"]:
            mended = ", ".join(flaw["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {flaw['id']}, mended in {mended}")
    print(f"audit: {len(audited)} packages held against the database of vulnerabilities", end="")
    print("" if audited else ", which cannot be reached from here")
    return int(any(package["vulns"] for package in audited))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
