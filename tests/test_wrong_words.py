"""Mistakes on the command line: one clear message with the fix, exit code 2, no traceback, no run folder."""

import sys
from pathlib import Path

import pytest

from imagier import cli
from imagier.sentence import completed

# arguments -> parts of the error message
SLIPS = {
    "": ("task is not given", "classify, compress, denoise, segment"),
    "task=segmnt": ("task=segmnt is not known", "classify, compress, denoise, segment", "Did you mean 'segment'?"),
    "task=segment model=unett": (
        "model=unett is not known",
        "of: fcn8, pspnet, smp, swiftnet, unet. Did you mean 'unet'?",
    ),
    "task=segment data=citiscapes": ("data=citiscapes is not known", "Did you mean 'cityscapes'?"),
    "task=segment model=cnn": (
        "model=cnn is for task=classify",
        "not for task=segment",
        "fcn8, pspnet, smp, swiftnet, unet",
    ),
    "task=classify data=streets": ("data=streets is for task=segment", "fashion_mnist"),
    "task=segment modle=unet": ("modle does not exist", "Did you mean 'model'?"),
    "task=segment optimizer.lrr=1": ("optimizer.lrr does not exist", "weight_decay", "Did you mean 'lr'?"),
    "task=segment callbacks.early_stopping.monitor=val/loss": (
        "argument of pytorch_lightning.callbacks.EarlyStopping "
        "is added with a plus: +callbacks.early_stopping.monitor=",
    ),
    "task=segment +callbacks.early_stopping.monitor=val/loss": (
        "callbacks.early_stopping.monitor=val/loss would have no effect",
        "add callbacks.early_stopping.patience=5",
    ),
    "task=segment trainer.max_epoch=3": ("trainer.max_epoch does not exist", "Did you mean 'max_epochs'?"),
    "task=segment optimizer.lr=-1": ("optimizer.lr=-1 is out of range", "above 0"),
    "task=segment STREETS data.label_set=category task.class_weights=[0,0,0,0,0,0,0]": ("ignores every class",),
    "task=segment STREETS optimizer=sgd optimizer.momentum=0": (
        "optimizer: SGD rejects",
        "Nesterov momentum requires a momentum",
    ),
    "task=segment STREETS optimizer._target_=torch.optim.Muon ~optimizer.betas": ("Muon rejects", "2D parameters"),
    "task=segment +optimizer.lr=1": ("optimizer.lr already exists; write it without a plus",),
    "task=segment trainer.max_epochs='2'": ("trainer.max_epochs=2 is out of range", "'2' is text", "oc.decode"),
    "task=segment +trainer.num_sanity_val_steps=0": ("trainer.num_sanity_val_steps is set by imagier",),
    "task=segment ~callbacks": ("callbacks was removed, but a run needs it", "~callbacks.NAME"),
    "task=segment callbacks.early_stopping=5": ("such as callbacks.early_stopping.patience=5",),
    "experiment=transfer_cpu data.root=. pretrain.budget=20s": ("pretrain=transfer_source names an experiment",),
    "task=segment callbacks.ema=0.999": (
        "callbacks.ema=0.999 replaces the whole callback",
        "callbacks.ema.decay=0.999",
    ),
    "task=segment ~callbacks.checkpoints": ("callbacks.checkpoints is off", "leave it on"),
    "task=segment ~logger": ("logger was removed, but a run needs it", "logger=none"),
    "task=segment optimizer.lr=fast": ("optimizer.lr=fast is out of range", "a number above 0"),
    "task=segment data.batch_size=0": ("data.batch_size=0 is out of range", "at least 1"),
    "task=segment data.batch_size=2.5": ("data.batch_size=2.5 is out of range", "whole number"),
    "task=segment seed=-1": ("seed=-1 is out of range",),
    "task=segment trainer.precision=fp8": ("trainer.precision=fp8 is out of range", "bf16-mixed"),
    "task=segment callbacks.ema.decay=1.5": ("callbacks.ema.decay=1.5 is out of range", "below 1"),
    "task=segment data.augment_first=no": ("data.augment_first=no is out of range", "one of: true, false"),
    "task=segment model=swiftnet model.mirror=off": ("model.mirror=off is out of range", "one of: true, false"),
    "task=segment data.on_error=ignore": ("data.on_error=ignore is out of range", "raise, skip"),
    "task=segment scheduler=cosin": ("scheduler=cosin is not known", "Did you mean 'cosine'?"),
    "task=segment scheduler.warmup=3": ("scheduler.warmup=3 is out of range", "below 1"),
    "task=segment STREETS trainer.budget=soon": ("trainer.budget='soon' is not a duration", "20m"),
    "task=segment STREETS +model.widht=8": ("model.widht is unknown to UNet", "Did you mean 'width'?"),
    "task=segment STREETS model.width=0": ("model.width=0",),
    "task=segment STREETS model._target_=mynets.Ring": ("there is no module mynets; install it, or set PYTHONPATH",),
    "task=segment STREETS model._target_=imagier.models.unet": ("imagier.models.unet is a module; name a class",),
    "task=segment STREETS task.class_weights=[1,2]": ("task.class_weights has 2 values", "task.class_weights=auto"),
    "task=segment STREETS +loss.gama=2": ("loss.gama is unknown to CrossEntropy",),
    "task=segment STREETS +optimizer.beta=2": ("optimizer.beta is unknown to AdamW", "Did you mean 'betas'?"),
    "task=segment STREETS augment=flip +augment.transfroms=[]": ("augment.transfroms is unknown", "'transforms'?"),
    "task=segment STREETS augment.transforms=[{_target_:imagier.transforms.exact.Shift,pixls:2}]": (
        "augment.transforms[0].pixls is unknown to Shift",
        "Did you mean 'pixels'?",
    ),
    "task=segment augment=flip +augment.side=64": ("augment.side=64 would have no effect", "it has no such key"),
    "experiment=objects32_cpu augment=flip augment.pixels=5": ("augment.pixels=5 would have no effect",),
    "task=classify data=photos data.classes=[0,1]": ("data.classes=[0, 1] is out of range", "['0','1']"),
    "task=classify data=/my/pictures": ("data=/my/pictures is a path", "data=photos data.root=/my/pictures"),
    "task=classify model=best.ckpt": ("model=best.ckpt is a file", "model.weights=best.ckpt"),
    "task=classify data.root=/my/pictures": ("data=garments is generated", "one of: fashion_mnist, photos"),
    "task=classify epochs=20": ("epochs does not exist", "Did you mean 'trainer.max_epochs'?"),
    "task=classify batch_size=8": ("Did you mean 'data.batch_size'?",),
    "task=classify batch=8": ("Did you mean 'data.batch_size'?",),
    "task=classify epoch=8": ("Did you mean 'trainer.max_epochs'?",),
    "task=classify lr=1e-3": ("Did you mean 'optimizer.lr'?",),
    "task=segment STREETS augment=street_crops data.size=[48,96]": ("crops up to 360 x 479", "an image of 48 x 96"),
    "task=denoise noise=null": ("noise=null is not allowed; noise is one of: ", "blind"),
    "task=segment model@x=unet": ("model@x is not a group of choices; write model=CHOICE",),
    "task=segment STREETS loss=focal loss.gamma=null": ("loss does not fit Focal",),
    "task=segment STREETS paths.runs=": ("paths.runs= is out of range", "a path"),
    "task=segment trainer=gpu": ("torch sees no GPU",),
    "task=segment trainer.devices=0": ("trainer.devices=0 is out of range", "at least 1"),
    "task=segment trainer.devices=two": ("trainer.devices=two is out of range", "a list of numbers"),
    "task=segment trainer=cpu trainer.devices=-1": ("trainer.devices=-1 selects GPUs", "trainer.devices=2"),
    "task=segment resume=nowhere": ("resume=nowhere does not exist",),
    "task=segment resume=o'brien/latest": ("resume=o'brien/latest does not exist",),
    "task=segment data.limit=[": ("cannot be parsed",),
}


def sentence(capsys: pytest.CaptureFixture[str], verb: str, words: list[str], code: int) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [verb, *words])
        with pytest.raises(SystemExit) as ended:
            cli.main(verb)
    said = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == code, said
    assert len(said) == 1, said
    assert said[0].startswith("imagier: ")
    return said[0]


@pytest.mark.parametrize("words", SLIPS)
def test_a_slip_is_answered_in_one_sentence(
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    streets_root: Path,
) -> None:
    import torch

    if "trainer=gpu" in words and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.chdir(tmp_path)
    given = words.replace("STREETS", f"data=cityscapes data.label_set=category data.root={streets_root}")
    said = sentence(capsys, "train", given.split(), 2)
    for part in SLIPS[words]:
        assert part in said
    assert not list(tmp_path.glob("runs/*/*/*"))


NET = "from torch import nn\n\nclass Ringnet(nn.Linear):\n    def __init__(self, width: int) -> None:\n        {line}\n"
SOUND = NET.format(line="super().__init__(1, width)")
# fault -> (file of a custom network, class name in its configuration, part of the error message)
NETS = {
    "a class that is misspelt": (SOUND, "RingNet", "module mine has no RingNet. Did you mean 'Ringnet'?"),
    "a slip of syntax": (NET.format(line="super(.__init__()"), "Ringnet", "mine.py, line 5)."),
    "what is not installed": (f"import nosuch\n{SOUND}", "Ringnet", "No module named 'nosuch' (ModuleNotFoundError, "),
    "a slip at its beginning": (f"{SOUND}\nRingnet.of = wdith\n", "Ringnet", "mine.py, line 7)."),
    "a word for a number": (SOUND, "Ringnet", "model.width=abc does not fit Ringnet, whose width is int."),
}


@pytest.mark.parametrize("name", NETS)
def test_what_is_wrong_with_the_file_of_a_net_is_said_once(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streets_root: Path
) -> None:
    text, kind, told = NETS[name]
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "ring.yaml").write_text(f"_target_: mine.{kind}\nname: ring\nwidth: abc\n")
    monkeypatch.setenv("IMAGIER_CONF", str(tmp_path / "conf"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    said = sentence(capsys, "train", ["task=segment", "model=ring", "data=cityscapes", f"data.root={streets_root}"], 2)
    assert told in said


@pytest.mark.parametrize(
    ("verb", "words", "told"),
    [
        ("train", "task=segment ~model.name", "model has no name, which every file in"),
        ("train", "task=segment ~model._target_", "model has no _target_, which every file in"),
        ("train", "task=segment ~task.name", "task has no name, which every file in"),
        ("train", "task=segment ~data.batch_size", "data has no batch_size, which every file in"),
        ("train", "task=segment ~optimizer.lr_scaling", "optimizer has no lr_scaling, which every file in"),
        ("doctor", "data=streets +task.labelled=false", "task is not set: add task=NAME if this command supports it"),
    ],
)
def test_a_key_that_a_file_of_the_configuration_lacks(
    verb: str, words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in sentence(capsys, verb, words.split(), 2)


def test_an_unknown_verb_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["imagier", "trian", "task=segment"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"'trian' is not a command; the commands are: {', '.join(cli.VERBS)}. Did you mean 'train'?" in said


@pytest.mark.parametrize(("verb", "key"), [("evaluate", "ckpt"), ("doctor", "data.root"), ("leaderboard", "runs")])
def test_a_path_without_its_key(verb: str, key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert f"Did you mean '{key}={tmp_path}'?" in sentence(capsys, verb, [str(tmp_path)], 2)
    assert "Did you mean" not in sentence(capsys, verb, [f"{tmp_path}/none"], 2)


def test_a_checkpoint_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "ckpt is not given" in sentence(capsys, "evaluate", [], 2)
    assert "does not exist" in sentence(capsys, "evaluate", [f"ckpt={tmp_path}/none"], 2)
    assert "is not a run folder" in sentence(capsys, "evaluate", [f"ckpt={tmp_path}"], 2)
    (tmp_path / "broken.ckpt").write_bytes(b"PK\x03\x04 not really")
    assert "cannot be read as a checkpoint" in sentence(capsys, "evaluate", [f"ckpt={tmp_path}/broken.ckpt"], 4)


@pytest.mark.parametrize(
    ("verb", "word", "meant"),
    [
        ("predict", "source=2024", "source='2024'"),
        ("evaluate", "output=1e5", "output='1e5'"),
        ("evaluate", "output=null", "output=null"),
        ("doctor", "data.root=/data/new!", "data.root='/data/new!'"),
        ("doctor", "data.root=/data/a,b", "data.root='/data/a,b'"),
        ("train", "data.root=/data/a,/data/b", "data.root=/data/a,/data/b"),  # with -m, a sweep over both
        ("predict", "source=/data/B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher", "source='/data/Bücher'"),
        ("serve", "token=0123", "token='0123'"),
        ("serve", "token=true", "token='true'"),
        ("serve", "token=null", "token=null"),
    ],
)
def test_a_path_or_a_token_is_as_it_was_typed(verb: str, word: str, meant: str) -> None:
    assert completed(verb, [word]) == [meant]


def test_weights_of_the_latest_run_stay_those_of_that_run(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "latest").symlink_to("run")
    assert completed("train", [f"model.weights={tmp_path}/latest"]) == [f"model.weights={tmp_path.resolve()}/run"]
    (tmp_path / "run" / "imagenet").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "run")
        assert completed("train", ["model.weights=imagenet"]) == ["model.weights=imagenet"]
