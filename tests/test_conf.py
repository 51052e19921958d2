"""Every choice in conf/ composes, builds and works; and every rule is for an existing key."""

import copy
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from imagier import build
from imagier.batch import Facts
from imagier.cli import VERBS
from imagier.configuration import check, choices
from imagier.keys import leaves
from imagier.nodes import call, call_nested
from imagier.rules import RULES
from imagier.training.hardware import OURS, trainer_settings
from imagier.transforms.augment import Augment
from tests.conftest import REPOSITORY

CONF = REPOSITORY / "conf"
GROUPS = [
    "task", "model", "data", "augment", "noise", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger",
    "paths", "sweep", "experiment", "debug",
]  # fmt: skip
FACTS = {
    "segment": Facts("streets", 3, (48, 96), (0.5,) * 3, (0.2,) * 3, tuple("abcdefg"), ((0, 0, 0),) * 7, 255),
    "classify": Facts("materials", 3, (32, 32), (0.5,) * 3, (0.2,) * 3, tuple("abcde"), ((0, 0, 0),) * 5),
    "denoise": Facts("leaves", 3, (48, 96), (0.5,) * 3, (0.2,) * 3),
    "compress": Facts("leaves", 3, (48, 96), (0.5,) * 3, (0.2,) * 3),
}
SMALL = {  # networks that train in no time
    "segment": ["model=unet", "model.width=2"],
    "classify": ["model=mlp", "model.hidden=[4]"],
    "denoise": ["model=autoencoder"],
    "compress": ["model=pair"],
}


def composed(*words: str) -> DictConfig:
    return copy.deepcopy(_composed(words))


@functools.cache
def _composed(words: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(words))


def every(*groups: str) -> list[tuple[str, str]]:
    return [(group, choice) for group in groups for choice in choices(group)]


def task_of(group: str, choice: str) -> str:
    tasks = OmegaConf.load(CONF / group / f"{choice}.yaml").get("tasks", ["denoise" if group == "noise" else "segment"])
    return str(tasks[0])


INGREDIENTS = [
    (name, left_out, words)
    for name, recipe in OmegaConf.load(REPOSITORY / "scripts" / "recipes" / "recipes.yaml").items()
    for left_out, words in recipe.get("without", {}).items()
]


@pytest.mark.parametrize(("name", "left_out", "words"), INGREDIENTS, ids=lambda value: str(value))
def test_an_ingredient_that_is_left_out_is_in_the_recipe(name: str, left_out: str, words: list[str]) -> None:
    whole, without = composed(f"experiment={name}"), composed(f"experiment={name}", *words)
    check(without)
    for word in words:
        key = word.lstrip("~").partition("=")[0]
        assert OmegaConf.select(whole, key) != OmegaConf.select(without, key), word


@pytest.mark.parametrize("verb", [path.stem for path in CONF.glob("*.yaml") if "- paths: " in path.read_text()])
def test_a_machines_own_paths_are_those_of_every_verb(verb: str) -> None:
    defaults = OmegaConf.load(CONF / f"{verb}.yaml").defaults
    assert {"optional local": "default"} in defaults


def test_no_group_is_forgotten() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml"))}
    assert folders - {"local"} == set(GROUPS)


@pytest.mark.parametrize(("group", "choice"), every(*GROUPS))
def test_every_choice_composes_and_is_sound(group: str, choice: str) -> None:
    words = [] if group in ("task", "experiment") else [f"task={task_of(group, choice)}"]
    cfg = composed(*words, f"{group}={choice}")
    check(cfg)


@pytest.mark.parametrize("name", choices("model"))
def test_every_net_builds_and_answers_in_the_shape_of_its_task(name: str) -> None:
    task = task_of("model", name)
    facts = FACTS[task]
    net = build.net(composed(f"task={task}", f"model={name}"), facts).eval()
    height, width = facts.size or (0, 0)
    image = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    with torch.inference_mode():
        answer = net(image, torch.zeros(2, dtype=torch.int64)).image if task == "compress" else net(image)
    channels = {"segment": (7, height, width), "classify": (5,)}
    assert answer.shape == (2, *channels.get(task, (3, height, width)))


def test_denoise_gpu_keeps_below_three_million_parameters() -> None:
    net = build.net(composed("experiment=denoise_gpu"), FACTS["denoise"])
    assert sum(weights.numel() for weights in net.parameters()) < 3_000_000


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_recipe_builds_its_net(name: str) -> None:
    cfg = composed(f"experiment={name}")
    if "weights" in cfg.model:
        cfg.model.weights = None  # a baseline's would be downloaded
    with torch.device("meta"):  # shapes without memory
        inner = call(cfg.model, "model", build._known(FACTS[cfg.task.name]), leave_out=frozenset({"name"}))
    assert any(parameter.requires_grad for parameter in inner.parameters())


def pairs_of_loss_and_task() -> list[tuple[str, str]]:
    return [(name, task) for name in choices("loss") for task in OmegaConf.load(CONF / f"loss/{name}.yaml").tasks]


@pytest.mark.parametrize(("name", "task"), pairs_of_loss_and_task())
def test_every_loss_serves_its_tasks(name: str, task: str) -> None:
    made = build.task(composed(f"task={task}", f"loss={name}", *SMALL[task]), FACTS[task])
    image = torch.randint(0, 256, (2, 3, *(FACTS[task].size or ())), dtype=torch.uint8)
    classes = {"segment": ((2, 48, 96), torch.uint8), "classify": ((2,), torch.int64)}
    shape, dtype = classes.get(task, ((), torch.uint8))
    target = torch.randint(0, 5, shape, dtype=dtype) if shape else image
    loss, _ = made.measure({"image": image, "target": target, "index": torch.arange(2), "id": ["one", "two"]}, "train")
    loss.backward()
    assert torch.isfinite(loss)
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in made.net.parameters())


@pytest.mark.parametrize("name", choices("optimizer"))
def test_every_optimizer_descends_and_decays_kernels_only(name: str) -> None:
    words = ["task=classify", f"optimizer={name}", "model=mlp", "model.hidden=[4]", "optimizer.weight_decay=0.1"]
    made = build.task(composed(*words), FACTS["classify"])
    optimizer = made.configure_optimizers()
    kernels, others = optimizer.param_groups
    assert (kernels["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert {parameter.ndim for parameter in others["params"]} == {1}
    assert optimizer.defaults.get("fused", name == "muon")  # Muon has no fused kernel


def test_a_codecs_tables_are_neither_decayed_nor_taken_for_kernels() -> None:
    words = ["task=compress", "model=hyperprior", "model.width=6", "model.latents=8", "optimizer=muon"]
    kernels, others = build.task(composed(*words), FACTS["compress"]).configure_optimizers().param_groups
    assert (6, 6) in [tuple(table.shape) for table in others["params"]]  # divisive normalisation
    assert (6, 3, 1) in [tuple(table.shape) for table in others["params"]]  # a density's biases
    assert {kernel.ndim for kernel in kernels["params"]} == {4}
    assert all(kernels["matrices"])
    assert not any(others["matrices"])
    assert others["weight_decay"] == 0


@pytest.mark.parametrize(
    ("scaling", "batch", "accumulate", "expected"),
    [("none", 256, 1, 1e-3), ("linear", 256, 1, 2e-3), ("sqrt", 64, 8, 2e-3), ("linear", 64, 1, 5e-4)],
)
def test_the_rate_follows_the_effective_batch(scaling: str, batch: int, accumulate: int, expected: float) -> None:
    cfg = composed(
        "task=classify", "optimizer.lr=1e-3", "optimizer.reference_batch=128", f"optimizer.lr_scaling={scaling}",
        f"data.batch_size={batch}", f"trainer.accumulate_grad_batches={accumulate}",
    )  # fmt: skip
    assert build.learning_rate(cfg) == pytest.approx(expected)
    whole = 200 if batch > 200 else 200 // batch * batch
    assert build.step_size(cfg, samples=200) == min(whole, batch * accumulate)  # at most the samples of an epoch


@pytest.mark.parametrize("name", choices("scheduler"))
def test_every_schedule_stays_between_nothing_and_its_peak(name: str) -> None:
    curve = call(composed("task=classify", f"scheduler={name}").scheduler, "scheduler", {})
    factors = [curve(done) for done in np.linspace(0, 1, 101)]
    assert 0 <= min(factors) <= max(factors) <= 1
    assert max(factors) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", choices("trainer"))
def test_every_trainer_choice_resolves_to_what_lightning_takes(name: str) -> None:
    if name == "gpu" and not torch.cuda.is_available():
        pytest.skip("no GPU here; that this is said in a sentence is tested among the wrong words")
    settings = trainer_settings(composed("task=classify", f"trainer={name}"))
    import inspect

    from pytorch_lightning import Trainer

    assert not set(settings) - set(inspect.signature(Trainer.__init__).parameters)
    assert not set(settings) & set(OURS)
    assert "auto" not in (settings["accelerator"], settings["precision"])


@pytest.mark.parametrize("name", choices("augment"))
def test_every_augmentation_keeps_its_size_and_classes(name: str) -> None:
    size = {"patches": (128, 128), "street_crops": (240, 320)}.get(name, (96, 160))
    cfg = composed("task=segment", f"augment={name}")
    transforms = call_nested(cfg.augment.transforms, "augment")
    whole = {"street_crops": (360, 480)}.get(name, (size[0], 160))
    change = Augment(transforms, size=whole, num_classes=7, ignore_index=255, resize_last=cfg.data.augment_first)
    draw = np.random.default_rng(0)
    for seed in range(5):
        image, mask = change(
            draw.integers(0, 256, (96, 192, 3), np.uint8), draw.integers(0, 7, (96, 192)).astype(np.uint8), seed
        )
        assert image.shape == (*size, 3)
        assert isinstance(mask, np.ndarray)
        assert mask.shape == size
        assert set(np.unique(mask)) <= {*range(7), 255}


def test_every_rule_speaks_of_a_key_that_some_sentence_has_and_every_switch_has_one() -> None:
    known: list[tuple[str, object]] = []
    for group, choice in every(
        "task",
        "model",
        "data",
        "augment",
        "noise",
        "loss",
        "optimizer",
        "scheduler",
        "trainer",
        "callbacks",
        "logger",
        "paths",
        "sweep",
    ):
        words = [f"task={task_of(group, choice)}", f"{group}={choice}"] if group != "task" else [f"task={choice}"]
        known += leaves(OmegaConf.to_container(composed(*words)))
    for verb in VERBS.keys() - {"train", "doctor"}:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            known += leaves(OmegaConf.to_container(compose(verb)))
    assert set(RULES) <= {key for key, _ in known}
    # Without a rule, `no` and `off`, which Hydra reads as text, would count as true.
    assert {key for key, value in known if isinstance(value, bool)} <= set(RULES)


def test_a_task_alone_picks_its_net_and_data_and_an_experiment_wins_over_it() -> None:
    alone = composed("task=segment")
    assert (alone.model.name, alone.data.name) == ("unet", "streets")
    assert composed("task=segment", "model=pspnet").model.name == "pspnet"
    recipe = composed("experiment=first_run")
    assert (recipe.task.name, recipe.model.width, recipe.augment.transforms[0].p) == ("segment", 16, 0.5)
    assert composed("experiment=first_run", "model.width=4", "augment=none").model.width == 4


def test_a_machines_own_settings_are_read_when_they_are_there(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / "local").mkdir(exist_ok=True)
    (tmp_path / "conf" / "local" / "default.yaml").write_text("# @package _global_\npaths:\n  runs: /elsewhere\n")
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        assert compose("train", ["task=segment"]).paths.runs == "/elsewhere"
