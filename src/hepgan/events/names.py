"""Names of branches, read as those of objects and of their numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from hepgan.events.schema import coordinates

__all__ = [
    "after",
    "after_camel",
    "backwards",
    "before",
    "camel_cuts",
    "coordinate",
    "cuts_of",
    "head_of",
    "identifier",
    "makes_momentum",
    "plain_name",
    "shared_prefix",
    "with_momentum",
]

_NAMES = {
    "px": ("px", "momentumx", "fpx", "fpfx", "fcoordinatesfx", "fcoordinatesfpx", "mpx"),
    "py": ("py", "momentumy", "fpy", "fpfy", "fcoordinatesfy", "fcoordinatesfpy", "mpy"),
    "pz": ("pz", "momentumz", "fpz", "fpfz", "fcoordinatesfz", "fcoordinatesfpz"),
    "pt": ("pt", "fpt", "fcoordinatesfpt"),
    "eta": ("eta", "feta", "fcoordinatesfeta"),
    "phi": ("phi", "fphi", "fcoordinatesfphi"),
    "theta": ("theta",),
    "mass": ("mass", "m", "fm", "fmass", "fcoordinatesfm"),
    "energy": ("energy", "e", "en", "pe", "fe", "fcoordinatesfe", "fcoordinatesft", "momentumt"),
}
_COORDINATES = {key: name for name, keys in _NAMES.items() for key in keys}

_IDENTIFIERS = {
    "run": "run",
    "runnumber": "run",
    "luminosityblock": "luminosityBlock",
    "lumiblock": "luminosityBlock",
    "lumisection": "luminosityBlock",
    "event": "event",
    "eventnumber": "event",
    "mceventnumber": "event",
    "runnum": "run",
    "lumiblocknum": "luminosityBlock",
    "eventnum": "event",
    "evtnum": "event",
}
_WHOLE_IDENTIFIERS = {
    "runid": "run",
    "runno": "run",
    "lumi": "luminosityBlock",
    "evt": "event",
    "evtnumber": "event",
    "evtid": "event",
    "eventid": "event",
    "eventno": "event",
}
"""Names that say it only of whole numbers."""

_SPLIT = re.compile(r"(?P<top>[^/]+?)_?/(?:(?P=top))?\.(?P<rest>.+)")
"""``Jet/Jet.PT``, as members of split objects are called with their path."""

_STORE = re.compile(r"(?:Analysis)?(?P<top>\w+?)Aux(?:Dyn)?[.:](?P<rest>.+)")
"""``AnalysisJetsAuxDyn.pt``, as ATLAS calls the fields of Jets."""

_STRONG = re.compile(r"[.:/]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def coordinate(name: str) -> str | None:
    """The momentum coordinate that a field's name stands for; None if it is none.

    Capitals, separators and the suffix of a nominal value do not count: ``PT``, ``p_T`` and ``pt_NOSYS`` are
    ``pt``. Members of ROOT's vectors and of podio's are known: ``fCoordinates.fPt``, ``momentum.x``.

    Example:
        >>> [coordinate(n) for n in ("PX", "momentum.z", "e", "PE", "isoCh")]
        ['px', 'pz', 'energy', 'energy', None]
    """
    return _COORDINATES.get(re.sub(r"[_.:]", "", re.sub(r"_nosys$", "", name.lower())))


def identifier(name: str, *, whole: bool = True) -> str | None:
    """What a branch names, ``run``, ``luminosityBlock`` or ``event``; None for any other.

    Args:
        name: The branch.
        whole: Whether it holds whole numbers.
    """
    key = re.sub(r"^event(info|header)(?=.)", "", re.sub(r"[_.:/]", "", plain_name(name).lower()))
    return _IDENTIFIERS.get(key) or (_WHOLE_IDENTIFIERS.get(key) if whole else None)


def plain_name(name: str) -> str:
    """The name as ``object.member``, where it is one of a split object or of an ATLAS store.

    What ATLAS calls a nominal value, ``met_NOSYS_phi``, is ``met_phi``.
    """
    name = re.sub(r"(?<=.)_NOSYS(?=[_.:]|$)", "", name)
    for pattern in (_SPLIT, _STORE):
        if found := pattern.fullmatch(name):
            name = f"{found['top']}.{found['rest']}"
    return name


def cuts_of(name: str) -> list[tuple[str, str]]:
    """The ways to read a name as prefix and field, the shortest prefix first; a dot is before any ``_``."""
    plain = plain_name(name)
    strong = _STRONG.search(plain, 1)
    start = strong.start() if strong else 1
    ends = [m.start() for m in re.finditer(r"[_.:/]", plain) if start <= m.start() < len(plain) - 1]
    # A name that begins with separators has nothing before them.
    return [(plain[:at], plain[at + 1 :]) for at in ends if plain[:at].strip("_.:/")]


def head_of(name: str) -> str:
    """What is before the first separator, or all of it."""
    cuts = cuts_of(name)
    return cuts[0][0] if cuts else plain_name(name)


def after(name: str, prefix: str) -> str | None:
    """The rest of a name behind a prefix; empty if it is all; None if it does not begin so."""
    plain = plain_name(name)
    if plain == prefix:
        return ""
    begins = plain.startswith(prefix) and plain[len(prefix)] in "_.:/" and len(plain) > len(prefix) + 1
    return plain[len(prefix) + 1 :] if begins else None


def camel_cuts(name: str) -> list[tuple[str, str]]:
    """``jetPt`` as (``jet``, ``Pt``), and all other ways to cut before a capital letter."""
    plain = plain_name(name)
    return [(plain[: m.start()], plain[m.start() :]) for m in _CAMEL.finditer(plain) if m.start()]


def after_camel(name: str, prefix: str) -> str | None:
    """The rest of a name behind a prefix that a capital letter ends; None if it does not begin so."""
    plain = plain_name(name)
    rest = plain.removeprefix(prefix)
    return rest.lstrip("_") if rest != plain and re.match(r"_?[A-Z]|_\w", rest) else None


def backwards(name: str) -> list[tuple[str, str]]:
    """``pt_jet`` as (``jet``, ``pt``)."""
    field, separator, owner = plain_name(name).partition("_")
    return [(owner, field)] if separator and field and owner else []


def before(name: str, owner: str) -> str | None:
    """What is before the owner at the end of a name; None if it does not end so."""
    field = plain_name(name).removesuffix(f"_{owner}")
    return field if field != plain_name(name) and field else None


def shared_prefix(names: Sequence[str]) -> str:
    """The longest prefix that names have in common, all but the last word of a single one; or nothing."""
    prefixes = [[p for p, _ in cuts_of(n)] for n in names]
    common = [p for p in prefixes[0] if all(p in others for others in prefixes)]
    return common[-1] if common else ""


def with_momentum(names: Iterable[str], cuts: Callable[[str], list[tuple[str, str]]]) -> list[str]:
    """The prefixes (or what ``cuts`` gives in their place) behind which there is a momentum."""
    found: dict[str, set[str]] = {}
    for name in names:
        for prefix, rest in cuts(name):
            if known := coordinate(rest):
                found.setdefault(prefix, set()).add(known)
    return [p for p, known in found.items() if coordinates(tuple(known))]


def makes_momentum(fields: Iterable[str]) -> bool:
    """Whether there is a momentum among fields with these names."""
    return bool(coordinates(tuple({c for name in fields if (c := coordinate(name))})))
