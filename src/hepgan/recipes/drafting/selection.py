"""Which branches a draft takes: those that are named, those that an analysis reads, or the usual ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from hepgan.errors import InputError
from hepgan.events import Address, Collection, EventSchema, Field, select
from hepgan.events.schema import quoted

__all__ = ["HOW", "named", "of_analysis", "unlearnable", "usual"]

HOW = (
    "Others can be had: `hepgan init --processor my.py:MyProcessor` takes what an analysis reads, "
    "`--select Muon --select Jet.qgl --select 'HLT_*'` what is named."
)
"""How to get what is left out by choice."""

_PATTERN = re.compile(r"[*?\[]")

_MOTHERS = re.compile(r"(?i).*(mother|daughter|parent).*|[md][12]")
"""Names of indices by which particles of a generator tell where they come from."""

_WEIGHTS = re.compile(r".*Weights?")

_TOGETHER = {"PV": ("x", "y", "z")}
"""Fields that coffea's NanoAODSchema needs to make objects of a collection."""

_MOMENTUM = ("px", "py", "pz", "pt", "eta", "phi", "energy", "mass", "charge")

_FIELDS = ("pt", "eta", "phi", "mass", "charge")
_TRACK = (*_FIELDS, "dxy", "dz")
_USUAL: dict[str, tuple[str, ...]] = {
    "Muon": (*_TRACK, "pfRelIso04_all", "looseId", "mediumId", "tightId"),
    "Electron": (*_TRACK, "pfRelIso03_all", "cutBased", "mvaIso_WP90", "mvaFall17V2Iso_WP90"),
    "Tau": (
        *_FIELDS,
        "dz",
        "decayMode",
        "idDecayModeNewDMs",
        "idDeepTau*VSe",
        "idDeepTau*VSmu",
        "idDeepTau*VSjet",
    ),
    "Photon": ("pt", "eta", "phi", "pfRelIso03_all", "cutBased", "mvaID_WP90", "electronVeto"),
    "Jet": (*_FIELDS[:4], "jetId", "puId", "btagDeepB", "btagDeepFlavB", "btagPNetB", "hadronFlavour"),
    "FatJet": (*_FIELDS[:4], "msoftdrop", "jetId", "tau1", "tau2", "tau3"),
    "MET": ("pt", "phi", "sumEt", "significance"),
    "PuppiMET": ("pt", "phi", "sumEt", "significance"),
    "PV": ("npvs", "npvsGood", "x", "y", "z"),
    "Pileup": ("nTrueInt", "nPU"),
    "Rho": ("fixedGridRhoFastjetAll",),
    "Flag": ("*",),
    "HLT": (
        *("IsoMu2[047]", "IsoTkMu24", "Mu50", "Mu17_TrkIsoVVL_Mu8_TrkIsoVVL_DZ*", "TripleMu_12_10_5"),
        *("Ele2[57]_*WPTight_Gsf", "Ele3[25]_WPTight_Gsf", "Ele23_Ele12_CaloIdL_TrackIdL_IsoVL*"),
        *("Mu8_TrkIsoVVL_Ele23_CaloIdL_TrackIdL_IsoVL*", "Mu23_TrkIsoVVL_Ele12_CaloIdL_TrackIdL_IsoVL*"),
        *("Photon200", "PFMETNoMu120_PFMHTNoMu120_IDTight", "PFHT1050", "PFJet500", "AK8PFJet500"),
    ),
}
"""What analyses of NanoAOD usually read, as patterns of fields."""

_MAIN = ("Muon", "Electron", "Tau", "Photon", "Jet", "FatJet")
_KNOWN = {*_MAIN, "MET", "PuppiMET", "PV"}
_OBJECT = re.compile(r"(?i)(muon|electron|lepton|photon|gamma|tau|jet|met|miss|^(mu|el|ele|lep|ph)(?![a-z]))")
"""Names of what is reconstructed, where they are not those of NanoAOD."""

_TRUTH = re.compile(r"(?i)(gen|truth|true|lhe|mc(?![a-z])|simhit|parton)")
_WHOLE, _MANY = 12, 8
"""Fields up to which other objects are taken with all they have, and how many collections of them."""

_USUAL_SCALARS = ("fixedGridRhoFastjetAll",)
_INSTEAD = {"PuppiMET": "MET"}


def named(schema: EventSchema, wanted: Sequence[str], besides: dict[str, str]) -> EventSchema:
    """The part of a schema that names and patterns make.

    Args:
        schema: All that there is.
        wanted: Collections (``Muon``), fields (``Muon.pt``), scalars, branches (``Muon_pt``), and patterns of
            any of these (``HLT_*``, ``Jet.btag*``).
        besides: Gets what is taken besides, and why.

    Raises:
        InputError: If there is no such thing.
    """
    by_text = _by_text(schema)
    here = {*schema.collection_names, *schema.scalar_names}
    names: list[str] = []
    for text in wanted:
        if text in here or not (text in by_text or _PATTERN.search(text)):
            names.append(text)
        elif text in by_text:
            names.append(by_text[text])
        else:
            found = [n for n in schema.collection_names if fnmatchcase(n, text)]
            found += [a for known, a in by_text.items() if fnmatchcase(known, text)]
            if not found:
                msg = f"nothing matches {text!r}"
                raise InputError(msg)
            names += found
    return select(schema, _together(schema, names, besides))


def of_analysis(
    schema: EventSchema, read: Sequence[str], left_out: dict[str, str], besides: dict[str, str]
) -> EventSchema:
    """The part of a schema that an analysis reads, where it can be learned.

    Args:
        schema: All that there is.
        read: The branches that it reads.
        left_out: Gets what of it cannot be learned, and why.
        besides: Gets what is taken besides, and why.
    """
    by_text = _by_text(schema)
    counters = {c.counter: c.name for c in schema.collections if c.counter}
    own = {f.branch for f in schema.identifiers}
    names: list[str] = []
    counted: list[str] = []
    for branch in read:
        if branch in by_text:
            names.append(by_text[branch])
        elif branch in counters:
            counted.append(counters[branch])
        elif branch not in own:
            left_out.setdefault(branch, "neither numbers nor lists of numbers")
    taken: list[str] = []
    for c in schema.collections:
        mine = [a for f in c.fields if (a := str(Address(c.name, None, f.name))) in names]
        if mine or c.name in counted:
            # What has no momentum needs one field, so that there is something to count.
            least = () if mine else c.field_names[:1]
            basic = [n for n in c.field_names if n in _MOMENTUM] if c.coordinates else least
            taken += [a for n in basic if (a := str(Address(c.name, None, n))) not in mine]
    besides |= dict.fromkeys(taken, "objects are made of them")
    return select(schema, _together(schema, [*names, *taken], besides))


def unlearnable(c: Collection, f: Field | None = None) -> str:
    """Why no model learns a collection, or a field of it; empty if one may."""
    if f is None:
        alone = c.layout == "jagged" and c.field_names == ("value",) and _WEIGHTS.fullmatch(c.name)
        return "variations of the event weight, of which a generated event has none" if alone else ""
    if f.dtype.startswith(("int", "uint")) and _MOTHERS.fullmatch(f.name):
        return "indices of mothers and daughters: the objects are a family tree, which no draft learns"
    return ""


def usual(schema: EventSchema, left_out: dict[str, str]) -> EventSchema | None:
    """What analyses usually read of NanoAOD, and what that leaves out; None if there are no such objects.

    Where none of NanoAOD's objects has the usual fields, others with momenta stand in for them: what is
    reconstructed, by its name, or else any.

    Args:
        schema: All that there is.
        left_out: Gets what is left out, and why: by patterns and with numbers of fields, since it is much.
    """
    here = schema.collection_names
    lists = [c for c in schema.collections if c.layout == "jagged" and c.coordinates]
    if not _KNOWN & {*here} and not lists:
        return None
    kept = {c.name: [] if _INSTEAD.get(c.name) in here else _usual_fields(c) for c in schema.collections}
    names = [n for n in schema.scalar_names if n in _USUAL_SCALARS]
    others = [n for n in schema.scalar_names if n not in (*_USUAL_SCALARS, schema.weight)]
    if not any(kept.get(name) for name in _MAIN):
        kept |= _stand_ins([c for c in schema.collections if not kept[c.name]])
    parts: list[str] = []
    triggers: list[str] = []
    told: dict[str, str] = {}
    for c in schema.collections:
        names += [str(Address(c.name, None, n)) for n in kept[c.name]]
        number, size = len(c.fields) - len(kept[c.name]), len(c.fields)
        if c.name in ("HLT", "L1"):
            triggers.append(f"{c.name}_* ({number} of {size})")
        elif reason := unlearnable(c):
            told[c.name] = reason
        elif not kept[c.name] and any(unlearnable(c, f) for f in c.fields):
            told[c.name] = "family trees, which no draft learns; `--select` takes the rest as objects"
        elif kept[c.name]:
            parts += [f"{quoted(c.name)}_* ({number} of {size})"] if number else []
        else:
            others.append(c.name)
    if not names:
        return None
    left_out |= told
    for found, reason in (
        (triggers, "triggers beyond the usual ones"),
        (parts, "fields beyond the usual ones"),
        (others, "beyond the usual objects"),
    ):
        if found:
            left_out[", ".join(found)] = reason
    return select(schema, names)


def _usual_fields(c: Collection) -> list[str]:
    patterns = _USUAL.get(c.name, ())
    return [f.name for f in c.fields if any(fnmatchcase(f.name, p) for p in patterns)]


def _stand_ins(collections: Sequence[Collection]) -> dict[str, list[str]]:
    """Fields of objects with momenta, by collection: of what is reconstructed, or else of any."""
    moving = [c for c in collections if c.coordinates and not unlearnable(c)]
    named = [c for c in moving if _OBJECT.search(c.name) and not _TRUTH.search(c.name)]
    taken: dict[str, list[str]] = {}
    for c in (named or moving)[:_MANY]:
        few = len(c.fields) <= _WHOLE
        taken[c.name] = [
            f.name for f in c.fields if not unlearnable(c, f) and (few or f.name.lower() in _MOMENTUM)
        ]
    return taken


def _by_text(schema: EventSchema) -> dict[str, str]:
    """The addresses of all fields and scalars, by these and by the names of branches."""
    found: dict[str, str] = {}
    for c in schema.collections:
        for f in c.fields:
            address = str(Address(c.name, None, f.name))
            found |= dict.fromkeys((address, *f.branches), address)
    for f in schema.scalars:
        found |= dict.fromkeys((f.name, f.branch), str(Address(None, None, f.name)))
    return found


def _together(schema: EventSchema, names: Iterable[str], besides: dict[str, str]) -> list[str]:
    """The names, and those without which coffea makes no objects."""
    found = list(dict.fromkeys(names))
    for c in schema.collections:
        needed = _TOGETHER.get(c.name, ())
        some = [n for n in found if n.startswith(f"{quoted(c.name)}.")]
        more = [n for f in needed if f in c.field_names and (n := str(Address(c.name, None, f))) not in found]
        if some and more and c.name not in found:
            besides |= dict.fromkeys(more, f"coffea's NanoAODSchema makes no {c.name} without them")
            found += more
    return found
