"""Productions by several processes: jobs that share a plan, and the workers of a Dask cluster."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from cli_toys import PATIENCE
from production_toys import quick

from hepgan.errors import ClusterError, InputError, OutputError
from hepgan.events import read_events
from hepgan.files import Reservation
from hepgan.production import (
    Order,
    Part,
    Plan,
    cluster,
    connected,
    plan_for,
    produce,
    produce_plan,
    submit_file,
    unfinished,
    workers,
)
from hepgan.production.manifest import journal_of


@pytest.fixture(scope="module")
def generator():
    return quick()


@pytest.fixture
def client(two_workers):
    return two_workers


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def shards(n: int) -> list[str]:
    return [f"events-{k:04d}.root" for k in range(n)]


def events(folder: Path) -> list:
    return read_events(str(folder / "*.root")).to_list()


SETTINGS = {"seed": 3, "shard_size": 100}


@pytest.fixture(scope="module")
def expected(generator, tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("expected")
    produce(generator, 1000, folder, **SETTINGS)
    return events(folder)


# ---------------------------------------------------------------------- jobs that share a plan


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_jobs_make_their_parts_and_the_last_one_the_fileset(generator, expected, tmp_path, order):
    for k in order:
        assert not (tmp_path / "fileset.json").exists()
        made = produce(generator, 1000, tmp_path, **SETTINGS, part=(k, 3))
        assert made.whole == (k == order[-1])
        assert [f.name for f in made.files] == shards(10)[(k - 1) * 10 // 3 : k * 10 // 3]
        assert made.events == made.made == 100 * len(made.files)
    assert names(tmp_path) == [*shards(10), "fileset.json"]
    assert events(tmp_path) == expected
    again = produce(generator, 1000, tmp_path, **SETTINGS, part=(2, 3))
    assert (again.whole, again.kept, again.made) == (True, 3, 0)


def test_jobs_at_the_same_time_fill_a_folder(generator, expected, tmp_path):
    errors: list[BaseException] = []

    def job(k: int) -> None:
        try:
            produce(generator, 1000, tmp_path, **SETTINGS, part=(k, 4), workers=1)
        except BaseException as error:
            errors.append(error)

    jobs = [threading.Thread(target=job, args=(k,)) for k in (1, 2, 3, 4)]
    for one in jobs:
        one.start()
    for one in jobs:
        one.join()
    assert errors == []
    assert names(tmp_path) == [*shards(10), "fileset.json"]
    assert events(tmp_path) == expected


def test_a_call_without_a_part_makes_what_jobs_have_not_made(generator, expected, tmp_path):
    produce(generator, 1000, tmp_path, **SETTINGS, part=(1, 3))
    with pytest.warns(UserWarning, match="has not ended"):
        read_events(str(tmp_path / "*.root"))
    (tmp_path / "events-0001.root").write_bytes(b"damaged")
    assert unfinished(tmp_path) == (2, 10)
    assert produce(generator, 1000, tmp_path, **SETTINGS).kept == 2
    assert names(tmp_path) == [*shards(10), "fileset.json"]
    assert events(tmp_path) == expected


def test_a_job_that_was_stopped_goes_on(generator, expected, tmp_path):
    def stop(done: int) -> None:
        if done > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(generator, 1000, tmp_path, **SETTINGS, part=(2, 2), on_progress=stop)
    assert unfinished(tmp_path) == (2, 10)
    (tmp_path / "events-0005.root").write_bytes(b"damaged")
    produce(generator, 1000, tmp_path, **SETTINGS, part=(1, 2))
    made = produce(generator, 1000, tmp_path, **SETTINGS, part=(2, 2))
    assert (made.whole, made.kept, made.made) == (True, 1, 400)
    assert events(tmp_path) == expected


def test_more_jobs_than_shards_have_nothing_to_do(generator, tmp_path):
    made = [produce(generator, 200, tmp_path, **SETTINGS, part=(k, 3)) for k in (1, 2, 3)]
    assert [len(one.files) for one in made] == [0, 1, 1]
    assert made[-1].whole


def test_jobs_are_refused_where_others_write_or_other_events_are(generator, tmp_path, monkeypatch):
    produce(generator, 1000, tmp_path, **SETTINGS, part=(1, 3))
    with pytest.raises(OutputError, match=r"another production \(seed 3 instead of 4\)"):
        produce(generator, 1000, tmp_path, **SETTINGS | {"seed": 4}, part=(2, 3))
    with pytest.raises(OutputError, match=r"another production \(seed 3 instead of 4\)"):
        produce(generator, 1000, tmp_path, **SETTINGS | {"seed": 4})
    with pytest.raises(OutputError, match="several jobs replace no earlier sample"):
        produce(generator, 1000, tmp_path, **SETTINGS, part=(2, 3), force=True)
    (tmp_path / "events-0005.root").write_bytes(b"mine")
    with pytest.raises(OutputError, match="no journal of hepgan's, so it is left alone"):
        produce(generator, 1000, tmp_path, **SETTINGS, part=(2, 3))
    (tmp_path / "events-0005.root").unlink()
    monkeypatch.setattr("hepgan.production.parts._PATIENCE", 0.1)
    held: list[Reservation] = []
    for path in (tmp_path / "fileset.json", journal_of(tmp_path, Part(2, 3))):
        other = threading.Thread(target=lambda p=path: held.append(Reservation(p, force=True)))
        other.start()
        other.join()
        with pytest.raises(OutputError, match="is being written by another thread"):
            produce(generator, 1000, tmp_path, **SETTINGS, part=(2, 3))
        held.pop().release()
    # A whole production waits for no job: it would make what the job makes.
    other = threading.Thread(
        target=lambda: held.append(Reservation(journal_of(tmp_path, Part(1, 3)), force=True))
    )
    other.start()
    other.join()
    with pytest.raises(OutputError, match="is being written by another thread"):
        produce(generator, 1000, tmp_path, **SETTINGS)
    held.pop().release()
    with pytest.raises(OutputError, match="is one file"):
        produce(generator, 1000, tmp_path / "a.root", part=(1, 2))
    produce(generator, 1000, tmp_path, **SETTINGS)
    with pytest.raises(OutputError, match="holds other events already"):
        produce(generator, 900, tmp_path, **SETTINGS, part=(1, 2))
    with pytest.raises(ValueError, match="job of part must be a whole number from 1 to 3, not 4"):
        produce(generator, 1000, tmp_path, **SETTINGS, part=(4, 3))


def test_parts_are_written_as_fractions():
    assert Part.parse("12/400") == Part(12, 400)
    assert str(Part(12, 400)) == "12/400"
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0", "-1/3"):
        with pytest.raises(InputError, match="written as 12/400"):
            Part.parse(wrong)


def test_a_plan_is_for_one_generator_its_conditions_and_one_hepgan(generator, toy_generator, tmp_path):
    plan = plan_for(generator, 1000, tmp_path / "d", **SETTINGS)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    with pytest.raises(OutputError, match="another model"):
        produce_plan(toy_generator, plan, tmp_path / "d")
    later = plan.model_copy(update={"version": "99.0"})
    with pytest.raises(OutputError, match=r"the plan is of hepgan 99\.0"):
        produce_plan(generator, later, tmp_path / "d")
    given = plan_for(toy_generator, 100, tmp_path / "d", condition={"npv": 10})
    with pytest.raises(OutputError, match="other conditions"):
        produce_plan(toy_generator, given, tmp_path / "d", condition={"npv": 20})
    assert not (tmp_path / "d").exists()


# ---------------------------------------------------------------------- a cluster


def test_workers_make_the_same_events(generator, client, expected, tmp_path):
    seen: list[int] = []
    made = produce(generator, 1000, tmp_path, **SETTINGS, client=client, on_progress=seen.append)
    assert (made.made, made.kept, made.whole) == (1000, 0, True)
    assert seen == sorted(seen)
    assert seen[-1] == 1000
    assert names(tmp_path) == [*shards(10), "fileset.json"]
    assert events(tmp_path) == expected
    with pytest.raises(OutputError, match="holds events already"):
        produce(generator, 1000, tmp_path, **SETTINGS, client=client)
    replaced = produce(generator, 300, tmp_path, **SETTINGS | {"seed": 5}, client=client, force=True)
    assert names(tmp_path) == [*shards(3), "fileset.json"]
    assert replaced.files == tuple(tmp_path / name for name in shards(3))


def test_jobs_with_workers_leave_nothing_but_the_sample(generator, client, expected, tmp_path):
    for k in (1, 2):
        produce(generator, 1000, tmp_path, **SETTINGS, part=(k, 2), client=client)
    assert names(tmp_path) == [*shards(10), "fileset.json"]
    assert events(tmp_path) == expected


def test_conditions_and_selections_go_to_workers(toy_generator, client, tmp_path):
    condition = {"npv": np.arange(600) % 20 + 10}
    settings = {"seed": 1, "condition": condition, "where": "nJet >= 1", "shard_size": 200}
    produce(toy_generator, 600, tmp_path / "here", **settings)
    produce(toy_generator, 600, tmp_path / "there", **settings, client=client)
    with pytest.warns(UserWarning, match="the condition npv is 90, outside the range"):
        produce(toy_generator, 100, tmp_path / "w", condition={"npv": 90}, shard_size=50, client=client)
    assert events(tmp_path / "here") == events(tmp_path / "there")


def test_a_model_goes_to_each_worker_once(generator, client, tmp_path):
    produce(generator, 2000, tmp_path, seed=1, shard_size=100, client=client)
    digest = generator.digest()
    there = client.run(lambda: list(workers._generators))
    assert all(found.count(digest) == 1 for found in there.values())


def test_what_is_whole_is_kept_when_a_production_on_workers_is_stopped(generator, client, expected, tmp_path):
    def stop(done: int) -> None:
        if done > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(generator, 1000, tmp_path, **SETTINGS, client=client, on_progress=stop)
    there = unfinished(tmp_path)
    assert there is not None
    assert 0 < there[0] < 10
    assert names(tmp_path) == [*shards(10)[: there[0]], "unfinished.jsonl"] or there[0] == len(
        [n for n in names(tmp_path) if n.endswith(".root")]
    )
    made = produce(generator, 1000, tmp_path, **SETTINGS, client=client)
    assert made.kept == there[0]
    assert events(tmp_path) == expected


def test_an_error_in_a_worker_names_the_file_and_the_event(toy_generator, client, tmp_path):
    values = np.full(300, 10.0)
    plan = plan_for(toy_generator, 300, tmp_path / "d", condition={"npv": values}, shard_size=100)
    broken = plan.model_copy(
        update={"normalisation": plan.normalisation.model_copy(update={"weight": 1e300})}
    )
    with pytest.raises(OutputError, match=r"d/events-000\d\.root, branch genWeight: event \d+ is .*"):
        produce_plan(toy_generator, broken, tmp_path / "d", condition={"npv": values}, client=client)
    assert not (tmp_path / "d").exists() or names(tmp_path / "d") == []


def test_a_straggler_is_made_again_elsewhere(generator, client, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_SOON", 0.5)
    monkeypatch.setattr(workers, "_LATE", 1.0)
    monkeypatch.setattr(workers, "_make", _Sluggish(workers._make, tmp_path))
    try:
        produce(generator, 1000, tmp_path / "d", **SETTINGS, client=client)
    finally:
        (tmp_path / "released").touch()
    assert (tmp_path / "stuck").exists()
    assert names(tmp_path / "d") == [*shards(10), "fileset.json"]
    assert events(tmp_path / "d") == expected


class _Sluggish:
    """A task whose first attempt at file 1 ends when it is released."""

    def __init__(self, make, folder: Path) -> None:
        self._make, self._folder = make, folder

    def __call__(self, cargo, number, folder, key, topic):
        if number == 1 and not (self._folder / "stuck").exists():
            from distributed import get_worker

            (self._folder / "stuck").touch()
            get_worker().log_event(topic, {"key": key, "events": 0})
            until = time.monotonic() + 300
            while not (self._folder / "released").exists() and time.monotonic() < until:
                time.sleep(0.1)
        return self._make(cargo, number, folder, key, topic)


def test_a_shard_whose_worker_dies_is_made_by_another(generator, client, expected, tmp_path):
    struck: list[int] = []
    found = list(client.run(os.getpid).values())

    def strike(done: int) -> None:
        if done >= 300 and not struck:
            struck.append(found[0])
            os.kill(found[0], signal.SIGKILL)

    made = produce(generator, 1000, tmp_path, **SETTINGS, client=client, on_progress=strike)
    assert struck
    assert made.made == 1000
    assert names(tmp_path) == [*shards(10), "fileset.json"]
    assert events(tmp_path) == expected


def test_workers_that_all_die_are_replaced(generator, expected, tmp_path, monkeypatch):
    """Also where Dask gives them up, as it does where they take long to start again."""
    monkeypatch.setattr(cluster, "_SECONDS_TO_RESTART", "0.1s")
    struck: list[int] = []

    def strike(done: int) -> None:
        if done >= 300 and not struck:
            struck.extend(client.run(os.getpid).values())
            os.kill(struck[0], signal.SIGKILL)

    with connected(cluster="local", jobs=1) as client:
        made = produce(generator, 1000, tmp_path, **SETTINGS, client=client, on_progress=strike)
    assert len(struck) == 1
    assert made.made == 1000
    assert events(tmp_path) == expected


class _Cluster:
    """The client of a cluster of so many threads."""

    def __init__(self, threads: int, status: str = "running") -> None:
        self.number, self.status = threads, status

    def nthreads(self):
        if self.number < 0:
            raise OSError
        return {"tcp://worker": self.number} if self.number else {}


def test_a_wait_for_a_cluster_has_an_end_or_says_what_it_waits_for(monkeypatch):
    def watch(threads, **options):
        return cluster.Watch(_Cluster(threads, **options), "comparison", "run it again")

    monkeypatch.setattr(cluster, "_PATIENT", 0.0)
    monkeypatch.setattr(cluster, "_SILENT", 0.0)
    without, at_work = watch(0), watch(2)
    with pytest.warns(UserWarning, match="the cluster has no worker; the comparison goes on as soon as one"):
        assert without.threads() == 0
    assert without.threads() == 0, "it is told once"
    assert at_work.threads(done=True) == 2
    with pytest.warns(UserWarning, match="the workers have done nothing of the comparison for 0 minutes"):
        assert at_work.threads() == 2
    for gone in (watch(-1), watch(2, status="closed")):
        with pytest.raises(ClusterError, match="the scheduler of the cluster is gone; run it again"):
            gone.threads()
    monkeypatch.setattr(cluster, "_SECONDS_TO_START", 0.0)
    assert without.threads() == 0, "jobs may wait in a queue for long"
    monkeypatch.setattr(cluster, "_is_local", lambda client: True)
    with pytest.raises(ClusterError, match="no process of the local cluster starts any more; run it again"):
        without.threads()


def test_workers_that_do_not_start_are_one_clear_error(monkeypatch):
    monkeypatch.setattr(cluster, "_SECONDS_TO_START", 0.01)
    with (
        pytest.raises(InputError, match=r"none of 1 processes for a local cluster has started in 0\.01 s"),
        connected(cluster="local", jobs=1),
    ):
        pass


# ---------------------------------------------------------------------- clusters and submit files


def _batch_system(folder: Path, submit: str, cancel: str) -> None:
    """Commands that start a job at once, as a process, and stop it again."""
    folder.mkdir()
    (folder / submit).write_text(
        "#!/bin/bash\n"
        'job=$(mktemp) && cp "${@: -1}" "$job"\n'
        'setsid bash "$job" >/dev/null 2>&1 &\n'
        f"echo $! >>{folder}/started\n"
        'echo "Submitted batch job $!"\n'
    )
    (folder / cancel).write_text('#!/bin/bash\nkill -- -"$1"\n')
    for name in (submit, cancel):
        (folder / name).chmod(0o755)


def _runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_of_slurm_are_workers(generator, expected, tmp_path, monkeypatch):
    """The commands of Slurm are stood in for by such as start processes here."""
    import dask

    _batch_system(tmp_path / "bin", "sbatch", "scancel")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(InputError, match=r"does not say what jobs of slurm need \(cores, memory\)"),
        connected(cluster="slurm"),
    ):
        pass
    own = ["export FOUND=own"]
    described = {"cores": 1, "memory": "2GB", "interface": "lo", "job-script-prologue": own}
    with (
        dask.config.set({f"jobqueue.slurm.{k}": v for k, v in described.items()}),
        connected(cluster="slurm", jobs=1) as client,
    ):
        made = produce(generator, 1000, tmp_path / "d", **SETTINGS, client=client)
        assert set(client.run(os.getenv, "FOUND").values()) == {"own"}
        assert set(client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").values()) == {str(1 << 29)}
    assert made.whole
    assert events(tmp_path / "d") == expected
    for number in (tmp_path / "bin" / "started").read_text().split():
        until = time.monotonic() + 20
        while _runs(int(number)):
            assert time.monotonic() < until
            time.sleep(0.1)


def test_workers_here_keep_freed_memory(client):
    assert set(client.run(os.getenv, "MALLOC_MMAP_THRESHOLD_").values()) == {str(1 << 25)}
    assert set(client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").values()) == {str(1 << 29)}


IMPORTED = """
import signal, threading
from hepgan.errors import InputError
from hepgan.production import connected

def said():
    try:
        connected(cluster="slurm").__enter__()
    except InputError as error:
        print(error)

other = threading.Thread(target=said)
other.start()
other.join()
before = signal.signal(signal.SIGINT, signal.default_int_handler)
said()
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_the_package_for_jobs_does_not_decide_what_an_interrupt_does():
    told = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [
        "a cluster of slurm can be started by a process's main thread only",
        "there is no sbatch here, by which jobs of slurm are submitted",
        "True",
    ]


def test_what_is_wrong_with_a_cluster_is_one_clear_error(monkeypatch):
    with pytest.raises(InputError, match="not both"), connected():
        pass
    with pytest.raises(InputError, match="not both"), connected("tcp://localhost:1", cluster="local"):
        pass
    monkeypatch.setattr("hepgan.production.cluster._SECONDS_TO_CONNECT", 0.5)
    with (
        pytest.raises(InputError, match="no scheduler of Dask answers at tcp://127"),
        connected("tcp://127.0.0.1:9"),
    ):
        pass
    with (
        pytest.raises(InputError, match="there is no sbatch here"),
        connected(cluster="slurm"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(InputError, match=r'the extra `dask` \(in a clone: pip install ".\[dask\]"\)'),
        connected(cluster="local"),
    ):
        pass


def test_a_slurm_file_runs_its_jobs(generator, expected, tmp_path):
    generator.save(tmp_path / "m.safetensors")
    plan = plan_for(generator, 1000, tmp_path / "d", **SETTINGS)
    order = Order(model=str(tmp_path / "m.safetensors"), output=str(tmp_path / "d"), plan=plan)
    order.write(tmp_path / "my events.plan.json")
    assert Order.read(tmp_path / "my events.plan.json") == order
    script = tmp_path / "events.slurm"
    script.write_text(submit_file("slurm", tmp_path / "my events.plan.json", 2))
    assert "#SBATCH --array=1-2\n" in script.read_text()
    jobs = [
        subprocess.Popen(["bash", script], env={**os.environ, "SLURM_ARRAY_TASK_ID": str(k)}) for k in (1, 2)
    ]
    assert [job.wait(PATIENCE) for job in jobs] == [0, 0]
    assert names(tmp_path / "d") == [*shards(10), "fileset.json"]
    assert events(tmp_path / "d") == expected


def test_an_htcondor_file_says_the_same_to_each_job(tmp_path):
    text = submit_file("htcondor", tmp_path / "it's.plan.json", 7)
    said = dict(re.findall(r"^(\w+)\s*= (.*)$", text, re.MULTILINE))
    assert text.endswith("queue 7\n")
    assert said["Part"] == "$(Process) + 1"
    assert said["executable"] == sys.executable
    words = shlex.split(said["arguments"].strip('"').replace("''", "'\\''"))
    plan = str(tmp_path / "it's.plan.json")
    assert words == ["-m", "hepgan", "generate", plan, "--shards", "$INT(Part)/7", "--workers", "1"]
