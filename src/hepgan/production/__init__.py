"""Production: many events, in bounded memory, written while they are generated."""

from hepgan.production.folder import unfinished
from hepgan.production.normalisation import Normalisation
from hepgan.production.plan import Plan, Shard
from hepgan.production.produce import Production, is_one_file, produce
from hepgan.production.shards import write_shard, write_shards

__all__ = [
    "Normalisation",
    "Plan",
    "Production",
    "Shard",
    "is_one_file",
    "produce",
    "unfinished",
    "write_shard",
    "write_shards",
]
