"""The command line from end to end, and what it does when it is stopped."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import awkward as ak
import click
import numpy as np
import pytest
import uproot
import yaml
from cli_toys import RECIPE, columns, inside, listing, run, start, write
from toys import dimuons

import hepgan
from hepgan.cli import cli
from hepgan.cli.console import Group
from hepgan.cli.console import run as run_group
from hepgan.cli.options import read_conditions
from hepgan.errors import InputError
from hepgan.runtime import progress
from hepgan.training import TrainingConfig

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with events, a recipe, and what training by it made."""
    folder = tmp_path_factory.mktemp("trained")
    write(folder / "train.root", columns(300))
    write(folder / "test.root", columns(300, seed=1))
    (folder / "tiny.yaml").write_text(RECIPE)
    process = start(*inside("train @tiny.yaml @train.root -o @m.safetensors", folder))
    out, err = process.ended()
    assert process.returncode == 0, err
    (folder / "said.txt").write_text(out + "|" + err)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def do(trained, here, capfd):
    """Runs a command that must succeed in silence on stderr; gives the lines that it says."""

    def succeed(arguments: str) -> list[str]:
        capfd.readouterr()
        status = run(*inside(arguments, trained))
        said = capfd.readouterr()
        assert (status, said.err) == (0, ""), said.err
        assert ESCAPE not in said.out
        return said.out.splitlines()

    return succeed


# ------------------------------------------------------------------------ help


def test_help_lists_the_commands_in_the_order_of_work_without_waiting_for_torch():
    code = (
        "import sys, hepgan.cli\n"
        "try: hepgan.cli.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "print({'torch', 'awkward', 'rich', 'matplotlib'} & set(sys.modules))"
    )
    best, done = 9.0, None
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - start)
    commands = re.findall(r"^  (\w+)  ", done.stdout.partition("Commands:")[2], re.MULTILINE)
    assert commands == [
        "quickstart",
        "dataset",
        "recipes",
        "init",
        "train",
        "distill",
        "refine",
        "unfold",
        "generate",
        "plan",
        "fold",
        "reweight",
        "validate",
        "explain",
        "info",
        "export",
    ]
    assert done.stdout.endswith("set()\n")
    assert best < 1.0


@pytest.mark.parametrize("name", cli.commands)
def test_help_tells_units_defaults_and_an_example_that_can_be_run(name, do):
    text = "\n".join(do(f"{name} --help"))
    assert "GeV" in text
    assert "radians" in text
    example = re.search(rf"^Example:\n  (hepgan {name}.*)$", text, re.MULTILINE)[1].partition(" > ")[0]
    words = example.split()[2:]
    assert cli.commands[name].make_context(name, words).params
    for option in cli.commands[name].params:
        if isinstance(option, click.Option) and not option.is_flag and not option.multiple:
            record = option.get_help_record(click.Context(cli))
            assert "[required]" in record[1] or "[default: " in record[1], option.name


@pytest.mark.parametrize("name", cli.commands)
def test_summary_of_a_command_is_not_cut_off(name, do):
    assert cli.commands[name].get_short_help_str(limit=60) in "\n".join(do("--help"))
    assert not cli.commands[name].get_short_help_str(limit=60).endswith("...")


def test_version_is_the_package_s(do):
    assert do("--version") == [f"hepgan, version {hepgan.__version__}"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("", "Commands:"),
        ("trian", "Did you mean 'train'?"),
        ("train", "Missing argument 'RECIPE'"),
        ("train zmumu", "Missing argument 'FILES...'"),
        ("train zmumu a.root", "Missing option '-o' / '--output'"),
        ("info m --frce", "No such option '--frce'"),
        ("info a b", "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_told_by_usage_and_status_2(arguments, hint, here, capfd):
    assert run(*arguments.split()) == 2
    said = capfd.readouterr()
    assert said.err.startswith("Usage: hepgan")
    assert hint in said.err
    assert said.out == ""


# --------------------------------------------------------------------- recipes


def test_recipes_are_listed_with_what_they_are_for(do):
    lines = do("recipes")
    named = [line.split()[0] for line in lines]
    assert {"zmumu", "dy-gan"} <= set(named)
    assert all(re.fullmatch(r"[\w-]+ {2,}\S.*", line) for line in lines)
    assert named == sorted(named)


def test_a_recipe_is_printed_as_yaml_that_hepgan_reads(do, here):
    lines = do("recipes zmumu")
    assert any(line.strip().startswith("#") for line in lines)
    assert yaml.safe_load("\n".join(lines))["name"] == "zmumu"
    Path("mine.yaml").write_text("\n".join(lines))
    assert hepgan.load_recipe("mine.yaml") == hepgan.load_recipe("zmumu")


def test_a_drafted_recipe_trains_by_the_line_that_init_says(do, trained, here, capfd):
    said = do("init @train.root:Events -o drafts/my.yaml --select Muon --select MET")
    assert said[-2] == "recipe in drafts/my.yaml; its comments say why"
    words = said[-1].removeprefix("next: hepgan ").split()
    assert words[:2] == ["train", "drafts/my.yaml"]
    assert run(*words, "--set", "training.steps=3") == 0
    assert Path("drafts/my.safetensors").is_file()


# ------------------------------------------------------------------ the way


def test_training_makes_a_model_and_its_history_and_says_what_comes_next(trained):
    out, _, err = (trained / "said.txt").read_text().partition("|")
    assert err == ""
    assert ESCAPE not in out
    lines = out.splitlines()
    assert lines[0].startswith("300 events; training tiny on ")
    assert lines[1].startswith("20 steps in ")
    assert "drawn anew" in lines[2]
    assert lines[3].startswith(f"model in {trained}/m.safetensors (")
    assert lines[4].startswith(f"next: hepgan generate {trained}/m.safetensors -n 100000 -o ")
    table = np.genfromtxt(trained / "m.history.csv", delimiter=",", names=True)
    assert table["step"].tolist() == list(range(1, 21))
    assert (trained / "m.history.png").read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in trained.iterdir() if p.name.startswith(("m.", "."))} == {
        "m.safetensors",
        "m.history.csv",
        "m.history.png",
    }
    assert (trained / "m.safetensors").stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_terms_of_a_gan_stand_beside_the_model_and_are_told_with_their_floors(do, trained, here):
    penalties = "model.penalties=[{kind: energy, observables: [m_mumu, met]}]"
    words = inside("train @tiny.yaml @train.root:Events -o gan.safetensors", trained)
    settings = ("model={kind: gan}", penalties, "training.diagnose_every=10")
    assert run(*words, *(part for setting in settings for part in ("--set", setting))) == 0
    table = np.genfromtxt("gan.diagnostics.csv", delimiter=",", names=True)
    assert table["step"].tolist() == [10, 20]
    assert Path("gan.history.png").is_file()
    told = [line for line in do("info gan.safetensors") if line.startswith("term ")]
    assert [line.split()[1] for line in told] == ["critic_adversarial", "energy_m_mumu_met"]
    assert all("between true events" in line for line in told)


def test_terms_of_a_hybrid_are_told_with_what_they_are_for_exchanged_events(do, trained, here):
    words = inside("train @tiny.yaml @train.root:Events -o hybrid.safetensors", trained)
    settings = ("model.penalties=[{kind: energy, observables: m_mumu}]", "training.diagnose_every=10")
    assert run(*words, *(part for setting in settings for part in ("--set", setting))) == 0
    told = [line for line in do("info hybrid.safetensors") if line.startswith("term ")]
    assert [line.split()[1] for line in told] == ["energy_m_mumu", "velocity"]
    assert "between true events" in told[0]
    assert "of generated events" in told[1]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_settings_change_the_recipe_that_the_model_keeps(do, here):
    do("train @tiny.yaml @train.root -o n.safetensors --set training.steps=5 --set training.batch_size=64")
    training = hepgan.EventGenerator.load("n.safetensors").recipe.training
    assert (training.steps, training.batch_size) == (5, 64)


@pytest.mark.parametrize(
    "command",
    [
        "train @tiny.yaml @train.root",
        "distill @m.safetensors --pairs 200",
        "refine @m.safetensors @test.root",
    ],
)
def test_the_time_that_is_asked_for_may_be_longer_than_the_recipe_s(command, do, here, monkeypatch):
    within, limits = TrainingConfig.within, []

    def noted(self, *arguments):
        found = within(self, *arguments)
        limits.append((self.max_time, found.max_time))
        return found

    monkeypatch.setattr(TrainingConfig, "within", noted)
    monkeypatch.setattr("hepgan.stats.classifiers.STEPS", (3, 5))
    few = "--set training.steps=3 --set training.batch_size=64 --set training.max_time=200"
    do(f"{command} -o n.safetensors --max-time 30m {few}" + (" --events 200" if "refine" in command else ""))
    ((own, limit),) = limits
    assert own == 200
    assert limit == 1800, "from the first step on, whatever was to be prepared"


def test_training_tells_the_metrics_of_the_model_that_is_kept(do, here):
    select = "--set training.selection.metrics=['ks:m_mumu'] --set training.evaluate_every=5"
    said = do(f"train @tiny.yaml @train.root -o n.safetensors {select}")
    assert any(re.fullmatch(r"at step (5|10|15|20), which is kept: ks:m_mumu 0\.\d+", line) for line in said)


def test_the_same_seed_makes_the_same_file_of_events(do, here):
    do("generate @m.safetensors -n 500 --seed 3 -o a.root")
    do("generate @m.safetensors -n 5e2 --seed 3 -o b.root --workers 1")
    do("generate @m.safetensors -n 500 --seed 4 -o c.root")
    a, b, c = (uproot.open(f"{name}.root:Events")["MET_pt"].array(library="np") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_condition_of_a_category_is_a_name():
    events = dimuons(300)
    events = ak.with_field(events, ak.Array(["ee", "mm"] * (len(events) // 2)), "channel")
    recipe = yaml.safe_load(RECIPE) | {"name": "toy", "conditions": ["channel"]}
    generator = hepgan.EventGenerator(recipe).fit(events, device="cpu")
    given = read_conditions(["channel=mm"], generator, 20)
    assert given == {"channel": "mm"}
    assert set(generator.generate(20, condition=given).channel.to_list()) == {"mm"}
    with pytest.raises(InputError, match="tt"):
        read_conditions(["channel=tt"], generator, 20)


def test_a_file_is_generated_with_its_fileset_and_the_next_step(do, here):
    said = do("generate @m.safetensors -n 500 -o g.root")
    assert re.fullmatch(r"500 events in g\.root \([\d,]+ events/s\)", said[0])
    assert said[1:] == [
        "fileset for coffea in g.fileset.json",
        "next: hepgan validate REFERENCE.root g.root -o report",
    ]
    assert set(listing(here)) == {"g.root", "g.fileset.json"}
    assert hepgan.read_events("g.root").Muon.pt.ndim == 2


def test_a_folder_is_filled_with_shards_of_the_same_events(do, here):
    said = do("generate @m.safetensors -n 500 -o shards --shard-size 200")
    assert said[0].startswith("500 events in 3 files of shards (")
    assert said[2] == "next: hepgan validate REFERENCE.root 'shards/*.root' -o report"
    do("generate @m.safetensors -n 500 -o whole.root")
    names = [f"shards/events-000{k}.root" for k in range(3)]
    assert [uproot.open(f"{n}:Events").num_entries for n in names] == [200, 200, 100]
    parts = np.concatenate([uproot.open(f"{n}:Events")["npv"].array(library="np") for n in names])
    assert np.array_equal(parts, uproot.open("whole.root:Events")["npv"].array(library="np"))
    listed = json.loads(Path("shards/fileset.json").read_text())["tiny"]["files"]
    assert [Path(file).resolve() for file in listed] == [Path(name).resolve() for name in names]


@pytest.mark.parametrize(
    ("arguments", "files"),
    [("-o p.parquet", ["p.parquet"]), ("-o p --format parquet", ["p", "p/events-0000.parquet"])],
)
def test_parquet_is_chosen_by_name_or_format(arguments, files, do, here):
    do(f"generate @m.safetensors -n 50 {arguments}")
    assert set(files) <= set(listing(here))
    assert len(hepgan.read_events(files[-1])) == 50


def test_output_is_replaced_only_by_force(do, trained, here, capfd):
    do("generate @m.safetensors -n 50 -o g.root")
    before = listing(here)
    assert run("generate", trained / "m.safetensors", "-n", 60, "-o", "g.root") == 2
    assert listing(here) == before
    do("generate @m.safetensors -n 60 -o g.root --force")
    assert uproot.open("g.root:Events").num_entries == 60


def test_validation_writes_a_report_and_prints_its_verdicts(do, here):
    do("generate @m.safetensors -n 300 -o g.root")
    said = do("validate @test.root g.root -o rep/new --recipe @tiny.yaml --train @train.root")
    assert set(listing(here / "rep/new")) == {"report.html", "metrics.json", "histograms.root"}
    metrics = json.loads(Path("rep/new/metrics.json").read_text())
    assert said == [*metrics["verdicts"]["generated"], "report in rep/new/report.html"]
    assert set(metrics["observables"]) == {"m_mumu", "met"}
    assert {"value", "floor", "ratio"} <= set(metrics["observables"]["met"]["ks"])
    assert uproot.open("rep/new/histograms.root")["reference/met"].values().sum() > 250


@pytest.mark.usefixtures("_reports_without_pictures")
def test_several_samples_share_one_report(do, here):
    for seed in (1, 2):
        do(f"generate @m.safetensors -n 300 --seed {seed} -o g{seed}.root")
    said = do("validate @test.root g1.root g2.root @train.root -o rep --recipe @tiny.yaml")
    metrics = json.loads(Path("rep/metrics.json").read_text())
    # a sample cannot be called train, which is what the training events are called
    assert metrics["samples"] == ["g1", "g2", "train_2"]
    assert [line.split()[0] for line in said[:-1]] == ["sample", *metrics["samples"]]
    assert said[-1] == "report in rep/report.html"
    ks = {label: metrics[label]["observables"]["m_mumu"]["ks"]["value"] for label in metrics["samples"]}
    assert ks["train_2"] < min(ks["g1"], ks["g2"])
    assert uproot.open("rep/histograms.root")["g2/met"].values().sum() > 250


@pytest.mark.parametrize(
    ("arguments", "labels"),
    [
        ("a/gen.root b/gen.root", ["a_gen", "b_gen"]),
        ("a/gen.root:Events c/x.parquet", ["gen", "x"]),
        ("a/*.root b/*.root", ["a", "b"]),
        ("a/gen.root a/gen.root a/gen.root", ["a_gen", "a_gen_2", "a_gen_3"]),
        ("gen(1).root reference.root", ["gen_1_", "reference_2"]),
        ("a/gen.root", ["generated"]),
        ("a/gen.root --label mine", ["mine"]),
        ("a.root b.root --label A --label B", ["A", "B"]),
    ],
)
def test_samples_are_called_after_their_files_or_as_one_likes(arguments, labels, monkeypatch, here):
    seen = []

    def stop(reference, samples, *_, **__):
        seen.extend(samples.items())
        msg = "enough"
        raise InputError(msg)

    monkeypatch.setattr("hepgan.validation.compare_files", stop)
    assert run("validate", "ref.root", *arguments.split(), "-o", "rep") == 2
    assert [label for label, _ in seen] == labels
    assert [file for _, file in seen] == arguments.partition(" --label")[0].split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("a.root b.root --label A", "1 --label for 2 samples"),
        ("a.root b.root --label A --label A", "two samples are called 'A'"),
        ("@test.root --label reference", "cannot be called 'reference'"),
        ("@test.root --features @train.root", "train.root"),
    ],
)
def test_labels_and_models_that_will_not_do_are_told(arguments, words, trained, here, capfd):
    assert run(*inside(f"validate @test.root {arguments} -o rep", trained)) == 2
    said = capfd.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not Path("rep").exists()


@pytest.mark.usefixtures("_reports_without_pictures")
def test_validation_shows_the_features_of_a_model(do, here):
    do("generate @m.safetensors -n 300 -o g.root")
    said = do("validate @test.root g.root -o rep --recipe @tiny.yaml --features @m.safetensors")
    assert any(line.startswith("model tiny: ") for line in said)
    metrics = json.loads(Path("rep/metrics.json").read_text())
    assert "Muon[0].pt" in metrics["features"]["observables"]
    assert '<h2 id="features">' in Path("rep/report.html").read_text()


def test_info_tells_recipe_events_training_and_versions(do):
    said = "\n".join(do("info @m.safetensors"))
    for expected in (
        "tiny: toy Z -> mu mu",
        "flow_matching",
        "2 Muon (pt, eta",
        "20 steps",
        "seed 0",
        "torch 2",
    ):
        assert expected in said


def test_output_goes_through_a_pipe_that_closes_early(here):
    os.mkfifo("pipe")
    process = start("recipes", "zmumu", out=here / "pipe")
    with open("pipe"):
        pass
    assert process.ended() == ("", "")
    assert process.returncode == 0


# ---------------------------------------------------------------- being stopped


LONG = "train @tiny.yaml @train.root -o m.safetensors --set training.steps=1000000 --set training.max_time=60"
CHECKPOINT = Path("m.checkpoint.safetensors")


def _steps_in(checkpoint: Path) -> int:
    from hepgan.training.checkpoint import read_checkpoint

    return read_checkpoint(checkpoint)["step"]


def test_a_killed_generation_goes_on_with_the_same_command(trained, here, capfd):
    words = inside("generate @m.safetensors -n 1e5 -o shards --shard-size 2000 --workers 1", trained)
    process = start(*words)
    process.wait_for(lambda: len([*(here / "shards").glob("events-*.root")]) > 1)
    process.signal(signal.SIGKILL)
    process.ended()
    whole = len([*(here / "shards").glob("events-*.root")])
    with pytest.warns(UserWarning, match="shards holds a part of a production that has not ended"):
        assert len(hepgan.read_events("shards/*.root")) == 2000 * whole
    assert run(*words) == 0
    assert capfd.readouterr().out.startswith(f"{whole} of 50 shards were there already\n100,000 events in 50")
    assert len(hepgan.read_events("shards/*.root")) == 100_000
    assert not [p for p in (here / "shards").iterdir() if p.name.startswith((".", "unfinished"))]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_says_how_to_go_on_and_goes_on(number, status, trained, here):
    process = start(*inside(LONG, trained))
    process.wait_for(CHECKPOINT.exists)
    process.signal(number)
    out, err = process.ended()
    assert process.returncode == status
    again = " ".join(["hepgan", *inside(LONG, trained), "--resume"])
    assert err.startswith("hepgan: interrupted; m.checkpoint.safetensors holds")
    assert err.count("\n") == 1
    assert ESCAPE not in out + err
    assert err.replace("'", "").endswith(f"to go on: {again}\n")
    assert set(listing(here)) == {"m.checkpoint.safetensors"}
    steps = _steps_in(CHECKPOINT)
    assert steps >= 1
    if number == signal.SIGTERM:
        return
    words = [*inside(LONG, trained), "--set", f"training.steps={steps + 7}", "--resume"]
    assert run(*words) == 0
    assert set(listing(here)) == {"m.safetensors", "m.history.csv", "m.history.png"}
    table = np.genfromtxt("m.history.csv", delimiter=",", names=True)
    assert table["step"].tolist() == list(range(1, steps + 8))


def test_a_killed_training_leaves_a_checkpoint_that_can_be_resumed(trained, here, capfd):
    process = start(*inside(LONG, trained))
    process.wait_for(CHECKPOINT.exists)
    process.signal(signal.SIGKILL)
    process.ended()
    steps = _steps_in(CHECKPOINT)
    words = [*inside(LONG, trained), "--set", f"training.steps={steps + 2}", "--resume"]
    assert run(*words) == 0
    assert "going on with tiny" in capfd.readouterr().out
    assert hepgan.EventGenerator.load("m.safetensors").summary["steps"] == steps + 2
    assert not CHECKPOINT.exists()


def test_resuming_without_a_checkpoint_begins(do, here):
    assert do("train @tiny.yaml @train.root -o m.safetensors --resume")[0].startswith("300 events; training")


@pytest.mark.parametrize(
    ("number", "output"),
    [
        (signal.SIGINT, "g.root"),
        (signal.SIGTERM, "shards"),
        (signal.SIGKILL, "g.root"),
    ],
)
def test_a_stopped_generation_leaves_only_whole_files(number, output, trained, here):
    words = inside(f"generate @m.safetensors -n 1e9 -o {output} --shard-size 20000", trained)
    process = start(*words)
    shards = here / "shards"
    if output == "shards":
        process.wait_for(lambda: any(shards.glob("events-*.root")))
    else:
        process.wait_for(lambda: any(here.glob(".g.*")))
    process.signal(number)
    _, err = process.ended()
    whole = sorted(p for p in here.glob("**/*.root") if not p.name.startswith("."))
    assert all(uproot.open(f"{p}:Events").num_entries == 20000 for p in whole)
    assert bool(whole) == (output == "shards")
    assert not [*here.glob("**/*fileset.json")]
    if number != signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        again = f"shards are whole in shards; to go on: {shlex.join(['hepgan', *words])}\n"
        assert err.endswith(again if whole else "hepgan: interrupted; no unfinished file is left\n")
        assert not [p for p in here.glob("**/.*") if p.is_file()]


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGUSR1, 138),
        (signal.SIGXCPU, 152),
    ],
)
def test_a_request_to_stop_is_heard_even_where_python_drops_it(number, status, monkeypatch):
    """An exception in a finaliser is shown and forgotten."""

    class Finalised:
        def __del__(self):
            signal.raise_signal(number)

    group, reached = Group(), []

    @group.command(example="work")
    def work():
        with progress("working", 2) as advance:
            Finalised()
            reached.append("after the signal")
            advance(1)
            reached.append("after the next events")

    monkeypatch.setattr(sys, "unraisablehook", lambda *_: None)
    # What runs in the background of a shell ignores Ctrl-C.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(number)
    assert run_group(group, ["work"]) == status
    assert reached == ["after the signal"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(number)) == before
    signal.signal(signal.SIGINT, ours)


# ------------------------------------------------------------ terminals, Pythia


def test_a_terminal_sees_progress_on_stderr_alone(trained, here, monkeypatch):
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    process = start(*inside("generate @m.safetensors -n 200000 -o g.root", trained), err=os.ttyname(theirs))
    os.set_blocking(ours, False)
    shown = b""

    def heard() -> bool:
        nonlocal shown
        with suppress(BlockingIOError):
            shown += os.read(ours, 65536)
        return process.returncode is not None

    process.wait_for(heard)
    out, _ = process.ended()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0
    assert b"generating" in shown
    assert b"/200,000" in shown
    assert b"events/s" in shown
    assert ESCAPE not in out


def test_a_dataset_is_simulated_once(here, capfd):
    pytest.importorskip("pythia8mc", reason="needs the extra pythia")
    pytest.importorskip("fastjet", reason="needs the extra pythia")
    assert run("dataset", "drell_yan", "-n", 20, "-o", "dy.root") == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "20 events of drell_yan in dy.root"
    assert said[1].startswith("next: hepgan ")
    assert uproot.open("dy.root:Events").num_entries == 20
    before = listing(here)
    assert run("dataset", "drell_yan", "-n", 20, "-o", "dy.root") == 2
    assert capfd.readouterr().err == "hepgan: dy.root: exists already; --force (force=True) replaces it\n"
    assert listing(here) == before
