"""The HTTP service under schemathesis, over a socket: every address asked with what its description allows and forbids.

The prediction is the one of the tests, which answers at once: what is tried here is the service. Options: --examples, --seeds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(Path(__file__).parent), str(TESTS)]

import schemathesis  # noqa: E402

import contract_run  # noqa: E402
from measuring import finish  # noqa: E402

TOKEN = "b" * 64
SERVER = f"""
import sys
sys.path[:0] = [{str(TESTS)!r}]
from pathlib import Path
import service_tasks
from tramtrack.service.access import Token
from tramtrack.service.limits import Limits
from tramtrack.service.server import serve
limits = Limits(upload_bytes=1 << 20, unpacked_bytes=4 << 20, files=6, waiting=100_000)
serve(service_tasks.load, Path(sys.argv[1]), "127.0.0.1", 0, Token.of({TOKEN!r}, "here"), limits)
"""


def main() -> None:
    """Run schemathesis once for each seed, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="of each address in each phase")
    parser.add_argument("--seeds", type=int, nargs="+", default=[9102, 9103, 9104])
    options = parser.parse_args()
    asked: Counter[str] = Counter()
    answered: Counter[int] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        process = subprocess.Popen([sys.executable, "-c", SERVER, Path(folder) / "jobs"], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        address = process.stderr.readline().split()[2].rstrip(",")
        reader = subprocess.Popen(["cat"], stdin=process.stderr, stdout=log)
        try:
            for seed in options.seeds:
                config = contract_run.configured(seed, options.examples, TOKEN)
                found = contract_run.run(schemathesis.openapi.from_url(f"{address}/openapi.json", config=config))
                asked, answered = asked + found[0], answered + found[1]
                failures += found[2]
        finally:
            process.terminate()
            process.wait()
            reader.wait()
        log.seek(0)
        unexpected = [line for line in log if " unexpected " in line]
    for phase, count in asked.most_common():
        print(f"{count:6} requests in phase {phase}")
    for status, count in sorted(answered.items()):
        print(f"{count:6} answered {status or 'nothing'}")
    for line in (*failures[:20], *unexpected[:20]):
        print(line[:2000])
    print(f"seeds {', '.join(map(str, options.seeds))}, {options.examples} examples of each address and phase")
    errors = sum(count for status, count in answered.items() if status >= 500) + len(unexpected)
    figure = len(failures) + errors
    finish("serve_contract", figure, f"failed checks and server errors in {sum(asked.values())} requests", 0, figure == 0)


if __name__ == "__main__":
    main()
