"""Production: many events, in bounded memory, written while they are generated, here or on a cluster."""

from hepgan.production.cluster import connected
from hepgan.production.folder import unfinished
from hepgan.production.normalisation import Normalisation
from hepgan.production.orders import Order, submit_file
from hepgan.production.plan import Part, Plan, Shard
from hepgan.production.produce import Production, is_one_file, plan_for, produce, produce_plan
from hepgan.production.shards import write_shard, write_shards

__all__ = [
    "Normalisation",
    "Order",
    "Part",
    "Plan",
    "Production",
    "Shard",
    "connected",
    "is_one_file",
    "plan_for",
    "produce",
    "produce_plan",
    "submit_file",
    "unfinished",
    "write_shard",
    "write_shards",
]
