"""Install the Debian packages that some tests need, where this is Debian and we are root; else those tests skip and say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NEEDED = {"chromium": "chromium", "dsrdump": "dcmtk"}
"""Program to package, for `make test`."""
PEERS = {"Rscript": "r-cran-proc"}
"""The same for `make peers`."""


def main() -> None:
    """Install what is missing, or say which tests will skip."""
    needed = PEERS if sys.argv[1:] == ["peers"] else NEEDED
    missing = [package for program, package in needed.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"Debian packages not installed (not root, or no apt-get): {', '.join(missing)}; the tests that need them skip")
        return
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)  # type: ignore[call-overload]
    done = subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=False, **quiet)  # type: ignore[call-overload]
    print(f"Debian packages {'installed' if done.returncode == 0 else 'could not be installed'}: {', '.join(missing)}")


if __name__ == "__main__":
    main()
