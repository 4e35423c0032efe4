"""Builds the documentation site: `python -m documentation` writes build/site, or says what is wrong with it.

The reference pages of the command line and of the REST operations are written first, from the program itself;
Zensical reads mkdocs.yml and docs/; then every link and everything that a page loads is looked up.
"""

import subprocess
import sys
from pathlib import Path

from documentation.links import faults
from documentation.reference import write_reference

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"


def main() -> int:
    """Returns the exit code."""
    write_reference(ROOT / "build" / "reference")
    build = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    if subprocess.run(build, cwd=ROOT, check=False).returncode:
        return 1
    found = faults(SITE)
    print(*found, sep="\n", end="\n" * bool(found), file=sys.stderr)
    if not found:
        print(f"The site is {SITE}: {len(list(SITE.rglob('*.html')))} pages.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
