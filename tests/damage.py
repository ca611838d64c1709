"""Files with a part that cannot be read."""

from __future__ import annotations

from pathlib import Path

import uproot


def damage(path: str | Path, branch: str, basket: int = 0, tree: str = "Events") -> None:
    """Overwrites the compressed numbers of one basket of a TTree."""
    with uproot.open(path) as file:
        found = file[tree][branch]
        start = int(found.member("fBasketSeek")[basket])
        size = int(found.member("fBasketBytes")[basket])
    with Path(path).open("r+b") as file:
        # The header, which says how long the rest is, stays.
        file.seek(start + size // 2)
        file.write(b"\xff" * (size - size // 2))
