"""The pages promise nothing that is not there: snippets run, recipes are valid, options of commands exist."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path

import awkward as ak
import click
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from shortened import shorten_classifiers
from toys import dimuons

import hepgan
from hepgan.cli import cli
from hepgan.cli import main as cli_main
from hepgan.generator.distillation import distill
from hepgan.observables.language import FUNCTIONS, METHODS, PAIR_PROPERTIES, PROPERTIES
from hepgan.recipes import load_recipe
from hepgan.recipes.recipe import parse_yaml

ROOT = Path(__file__).parents[1]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
PAGES = sorted(DOCS.glob("*.md"))
FENCE = re.compile(r"^```(?:\{code-block\} )?(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


README = ROOT / "README.md"


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def pages_with(language: str) -> list[Path]:
    return [p for p in PAGES if blocks(p, language)]


def like_zmumu(n: int, seed: int) -> ak.Array:
    """Toy events with the branches of the recipe zmumu."""
    events = dimuons(n, seed)
    events = events[ak.all(abs(events.Muon.eta) < 5, axis=1)]
    rng = np.random.default_rng(seed)
    counts = ak.num(events.Muon)
    muons = {f: events.Muon[f] for f in ("pt", "eta", "phi", "mass", "charge")}
    for name in ("isoCh", "isoPh", "isoNh"):
        size = int(ak.sum(counts))
        values = np.where(rng.random(size) < 0.5, 0, rng.exponential(0.1, size)).astype(np.float32)
        muons[name] = ak.unflatten(values, counts)
    parts = {
        "Muon": ak.zip(muons, with_name="Momentum4D"),
        "Jet": events.Jet,
        "MET": events.MET,
        "PV": ak.zip({"npvs": events.npv}),
    }
    return ak.zip(parts, depth_limit=1)


@pytest.fixture(scope="module", autouse=True)
def _short_and_silent():
    """Trainings of a second of small networks, reports without pictures, others without a screen."""
    fit = hepgan.EventGenerator.fit
    small = ("model.network={kind: residual, width: 32, blocks: 1}", "model.steps=2")

    def short(self, events, **options):
        if self.recipe.model.kind == "flow_matching":
            self.recipe = self.recipe.with_settings(small)
        return fit(self, events, **options | {"max_time": 0.3, "progress": False})

    def quick(generator, **options):
        return distill(generator, **options | {"pairs": 500, "max_time": 0.3})

    save = Figure.savefig

    def rough(figure, path, **options):
        save(figure, path, **options | {"dpi": 20, "bbox_inches": None})

    patch = pytest.MonkeyPatch()
    patch.setattr(Figure, "savefig", rough)
    patch.setattr("hepgan.learners.discrete.STEPS", 20)
    patch.setattr(hepgan.EventGenerator, "fit", short)
    patch.setattr(hepgan, "distill", quick, raising=False)
    patch.setattr(mpl, "use", lambda *_: None)
    patch.setattr("hepgan.validation.report.picture", lambda *_, **__: "data:,")
    shorten_classifiers(patch)
    with mpl.rc_context({"backend": "agg"}):
        yield
    patch.undo()


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("samples")
    events = like_zmumu(1200, 1)
    hepgan.write_events(folder / "zmumu_train.root", events)
    hepgan.write_events(folder / "zmumu_test.root", like_zmumu(1200, 2))
    generator = hepgan.EventGenerator("zmumu").fit(hepgan.read_events(folder / "zmumu_train.root"))
    generator.save(folder / "zmumu.safetensors")
    hepgan.produce(generator, 1200, folder / "generated.root")
    return folder


@pytest.fixture
def here(samples, monkeypatch) -> Path:
    monkeypatch.chdir(samples)
    return samples


@pytest.fixture(autouse=True)
def _one_cluster(request, monkeypatch):
    """Pages that start a cluster here get one that all of them share."""

    @contextmanager
    def shared(scheduler=None, *, cluster=None, jobs=None):
        assert (scheduler, cluster, jobs) == (None, "local", 2)
        yield request.getfixturevalue("two_workers")

    monkeypatch.setattr("hepgan.production.connected", shared)


# Those of stories are tried with their commands.
@pytest.mark.parametrize(
    "page", [p for p in pages_with("python") if p.stem != "stories"], ids=lambda p: p.stem
)
def test_python_snippets_run(page, here, capsys):
    import matplotlib.pyplot as plt

    whole = page.read_text(encoding="utf-8")
    names = {"__name__": "snippets"}
    for text in blocks(page, "python"):
        # so that a failure tells the line of the page
        above = "\n" * whole[: whole.index(text)].count("\n")
        exec(compile(above + text, str(page), "exec"), names)
    plt.close("all")


@pytest.mark.parametrize("page", pages_with("yaml"), ids=lambda p: p.stem)
def test_yaml_snippets_are_valid_recipes(page):
    for text in blocks(page, "yaml"):
        document = {"name": "snippet", "model": {"kind": "flow_matching"}} | parse_yaml(text, page.name)
        load_recipe(document).make_observables()


def commands(page: Path) -> list[list[str]]:
    return [words for text in blocks(page, "console") for words in commands_of(text)]


def commands_of(text: str) -> list[list[str]]:
    lines = text.splitlines()
    parts = [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ hepgan ")]
    return [p[1 : p.index(">")] if ">" in p else p[1:] for p in parts]


@pytest.mark.parametrize("page", [p for p in (README, *PAGES) if commands(p)], ids=lambda p: p.stem)
def test_commands_have_the_options_that_the_pages_use(page):
    for name, *arguments in commands(page):
        with click.Context(cli, info_name="hepgan") as parent:
            cli.commands[name].make_context(name, list(arguments), parent=parent)


def test_the_blocks_of_the_readme_run_one_after_another_in_one_folder(samples, tmp_path, monkeypatch, capsys):
    """With few events and short trainings; what is learned from other files is only looked for by name."""
    monkeypatch.chdir(tmp_path)
    for name in ("zmumu_train.root", "zmumu_test.root"):
        shutil.copy(samples / name, name)
    there = {"folding.safetensors", "vertex.root", "prior.safetensors", "data.root"}
    ran = []
    for kind, text in FENCE.findall(README.read_text(encoding="utf-8")):
        if kind == "python":
            exec(text.replace("100_000", "500"), {})
            ran.append("python")
        for name, *words in commands_of(text) if kind == "console" else ():
            there |= {p.name for p in tmp_path.iterdir()}
            output = words[words.index("-o") + 1]
            read = {w.partition(":")[0] for w in words if re.search(r"\.(root|safetensors|yaml)", w)} - {
                output
            }
            assert read <= there, (name, words)
            assert output not in there, (name, words)
            there.add(output)
            if name in ("init", "train", "generate", "validate"):
                few = [{"1e6": "500", "1e4": "100"}.get(w, w) for w in words]
                with pytest.raises(SystemExit) as ended:
                    cli_main([name, *few])
                # A training as short as here says that it means nothing.
                assert ended.value.code in ((0, 3) if name == "train" else (0,)), (
                    words,
                    capsys.readouterr().err,
                )
                ran.append(name)
    assert ran == ["init", "train", "generate", "validate", "python", "generate"]


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda p: p.stem)
def test_no_page_installs_hepgan_from_an_index(page):
    """None has it; a clone is a dot."""
    lines = re.findall(r"pip install .*", page.read_text(encoding="utf-8"))
    assert not [line for line in lines if re.search(r"(?<![\w/.-])hepgan\b(?!/)", line.partition("#")[0])]


def test_the_published_hybrids_are_recipes_with_the_guides_that_the_page_says():
    guides = []
    for _, recipe, *arguments in commands(DOCS / "hybrids.md"):
        settings = [b for a, b in itertools.pairwise(arguments) if a == "--set"]
        model = load_recipe(recipe).with_settings(settings).model
        guides += [g.name for g in (*model.critics, *model.penalties)]
    assert guides == ["mmd_m_z", "mass", "momenta"]


def test_the_commands_of_the_ablation_page_make_its_report(here, capsys):
    """Each as it stands, on small samples; trainings are short."""
    for words in commands(DOCS / "ablation.md"):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli_main(words)
        # A training as short as here says that it means nothing.
        assert ended.value.code in ((0, 3) if words[0] == "train" else (0,)), (words, capsys.readouterr().err)
    said = capsys.readouterr().out.splitlines()
    variants = [line.split()[0] for line in blocks(DOCS / "ablation.md", "text")[1].splitlines()[1:-1]]
    assert [line.split()[0] for line in said[1:-1]] == variants
    assert said[-1] == blocks(DOCS / "ablation.md", "text")[1].splitlines()[-1]
    penalties = {v: hepgan.EventGenerator.load(f"{v}.safetensors").recipe.model.penalties for v in variants}
    assert [len(p) for p in penalties.values()] == [1, 0, 1]


def test_the_commands_of_the_page_on_clusters_make_the_same_events(here, capsys):
    ran = [words for words in commands(DOCS / "cluster.md") if "://" not in " ".join(words)]
    for words in ran:
        with pytest.raises(SystemExit) as ended:
            cli_main(words)
        assert ended.value.code == 0, (words, capsys.readouterr().err)
    made = ["plan", "generate", "generate", "plan", "plan", "generate", "validate"]
    assert [words[0] for words in ran] == made
    assert {"night.slurm", "day.sub"} <= {p.name for p in here.iterdir()}
    one, other = (hepgan.read_events(str(here / name / "*.root")).to_list() for name in ("planned", "here"))
    assert len(one) == 2000
    assert one == other


def test_settings_of_the_ablation_page_change_the_recipe():
    recipe = load_recipe("dy-gan-7")
    table = (DOCS / "ablation.md").read_text(encoding="utf-8")
    settings = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(settings) > 5
    for setting in settings:
        assert recipe.with_settings([setting]) != recipe, setting
    with pytest.raises(hepgan.errors.RecipeError) as error:
        recipe.with_settings(["model.penalties-=mass"])
    assert blocks(DOCS / "ablation.md", "text")[0].strip() == f"hepgan: {error.value}"


def test_every_word_of_the_language_is_documented():
    text = (DOCS / "observables.md").read_text(encoding="utf-8")
    code = " ".join(re.findall(r"`([^`]*)`", text))
    words = set(re.findall(r"\w+", code))
    assert words >= {*FUNCTIONS, *METHODS, *PROPERTIES, *PAIR_PROPERTIES}


def test_every_public_package_has_a_page_of_reference():
    documented = " ".join(p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.md"))
    found = set(re.findall(r"automodule:: (hepgan[\w.]*)", documented))
    source = Path(hepgan.__file__).parent
    packages = {f"hepgan.{p.parent.name}" for p in source.glob("[a-z]*/__init__.py")}
    assert found >= packages | {"hepgan.generator", "hepgan.errors"}


def test_pictures_are_small():
    sizes = [p.stat().st_size for p in (DOCS / "figures").glob("*.png")]
    assert sizes
    assert max(sizes) < 150_000
    assert sum(sizes) < 1_000_000


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([\w/]+\.md)", page.read_text(encoding="utf-8")):
            assert (DOCS / target).is_file(), f"{page.name} links to {target}"


def script(path: Path):
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def recipe(here) -> str:
    """The recipe zmumu with three observables, so that reports are quick."""
    whole = load_recipe("zmumu").model_dump(mode="json", exclude_unset=True)
    kept = ("m_mumu", "pt_mumu", "pt_jet1", "n_jet", "met", "iso_ch")
    whole["observables"] = {n: whole["observables"][n] for n in kept}
    (here / "small.yaml").write_text(hepgan.Recipe.model_validate(whole).to_yaml(), encoding="utf-8")
    return str(here / "small.yaml")


def test_the_tutorial_makes_its_pictures(recipe, tmp_path, monkeypatch, capsys):
    tutorial = script(DOCS / "tutorial.py")
    small = load_recipe(recipe)
    monkeypatch.setattr(hepgan, "load_recipe", lambda name: small, raising=False)
    figures = tmp_path / "figures"
    tutorial.main(
        [
            *("--train", "zmumu_train.root", "--test", "zmumu_test.root", "--events", "1000"),
            *("--work", str(tmp_path), "--figures", str(figures)),
        ]
    )
    shown = set(re.findall(r"figures/(\w+\.\w+)", (DOCS / "tutorial.md").read_text(encoding="utf-8")))
    assert {p.name for p in figures.iterdir()} == shown


def test_the_page_on_constraints_makes_its_pictures(tmp_path, monkeypatch):
    constraints = script(DOCS / "constraints.py")
    whole = constraints.scan
    monkeypatch.setattr(constraints, "scan", lambda widths: whole(widths, size=1000))
    constraints.main(["--figures", str(tmp_path), "--steps", "20", "--events", "500"])
    shown = set(re.findall(r"figures/(\w+\.\w+)", (DOCS / "constraints.md").read_text(encoding="utf-8")))
    assert {p.name for p in tmp_path.iterdir()} == shown
    # what the page says of the pictures
    found = whole(np.array([0.0, 1.0]))
    assert found["paired"] == pytest.approx([(2 / np.pi) ** 0.5, 2 / np.pi**0.5], rel=0.02)
    assert all(abs(found[n][1]) < 0.05 * found[n][0] for n in ("wasserstein", "energy", "mmd"))
    in_scaled, after_errors = constraints.shell()
    assert in_scaled.std() > 0.2
    assert np.mean(after_errors < 0) == pytest.approx(0.09, abs=0.01)
    assert after_errors.std() == pytest.approx(19.0, abs=1.0)


def test_example_train_and_generate(recipe, tmp_path, capsys):
    script(EXAMPLES / "train_and_generate.py").main(
        [
            *("zmumu_train.root", "zmumu_test.root", "--events", "1000"),
            *("--recipe", recipe, "--output", str(tmp_path / "out")),
        ]
    )
    assert (tmp_path / "out" / "report" / "report.html").is_file()
    assert len(hepgan.read_events(tmp_path / "out" / "generated.root")) == 1000
    assert "events/s" in capsys.readouterr().out


def test_example_own_observable_is_the_same_in_both_forms(here, capsys):
    example = script(EXAMPLES / "own_observable.py")
    example.main(["zmumu_test.root", "generated.root"])
    difference = float(re.search(r"two forms: (\S+)", capsys.readouterr().out)[1])
    # single precision in the file's form
    assert difference < 1e-3
    # the mean of a decay that is isotropic in the rest frame, but for the cut on pt
    values = example.HELICITY.flat(hepgan.read_events("zmumu_test.root")).values
    assert np.all(np.abs(values) <= 1 + 1e-6)


def test_example_compare_generators_tells_samples_apart(recipe, tmp_path, capsys):
    script(EXAMPLES / "compare_generators.py").main(
        [
            *("zmumu_test.root", "learned=generated.root", "true=zmumu_train.root"),
            *("--recipe", recipe, "--output", str(tmp_path / "report")),
        ]
    )
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert float(lines["learned"][1]) > float(lines["true"][1])
    assert lines["learned:"][-3:] == ["standard", "deviations", "off"]
