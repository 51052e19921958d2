"""README.md of a bundle: what it is, how good it is, and the commands to use it."""

from pathlib import Path

from imagier.deploy.bundle import Bundle

_USE = """```
imagier predict ckpt={folder} source=photo.jpg
```

```python
import imagier

predictor = imagier.load("{folder}")
answer = predictor("photo.jpg")
answer.show()
```"""

_USE_OF_A_CODEC = """```
imagier compress photo.jpg ckpt={folder} quality={quality}
imagier decompress compressed ckpt={folder}
```

```python
import imagier

codec = imagier.load("{folder}")
answer = codec("photo.jpg", quality={quality})
answer.save("photo.imgr")  # or photo.png: the pixels that the file gives back
pixels = codec.decompress(answer.data)
```

Files are read by this bundle and by the checkpoint that it was made of, and by no other net: to the same pixels on any
machine, at any `threads=` and by any runtime."""

_INT8 = """An ONNX graph in int8 that is opened by onnxruntime itself wants
`SessionOptions.add_session_config_entry("session.x64quantprecision", "1")`, as imagier sets it: without it, sums
overflow on processors without VNNI."""


def readme(bundle: Bundle, folder: Path) -> str:
    """The text, for a bundle that will lie at `folder`."""
    about = bundle.description
    takes = "RGB" if about.channels == 3 else "grey"
    size = f", resized to {about.resize[0]} x {about.resize[1]} (height x width)" if about.resize else " of any size"
    parts = [f"# {about.name}\n\nA net for task `{about.task}`: {about.net}. It takes {takes} pictures{size}."]
    if about.classes:
        parts.append(f"Classes: {', '.join(about.classes)}.")
    if about.lambdas:
        served = ", ".join(f"{number} (lambda {value:g})" for number, value in enumerate(about.lambdas, 1))
        parts.append(f"Qualities, from the smallest files to the best pictures: {served}.")
    if scores := about.metrics.get("scores"):
        measured = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if "/" not in name)
        samples = f", {about.metrics['samples']:,} samples" if "samples" in about.metrics else ""
        parts.append(f"Measured on the {about.metrics['split']} split of {about.metrics['data']}{samples}: {measured}.")
    else:
        parts.append("Not measured: the run was not tested, or this checkpoint is not its best one.")
    parts += _table(bundle)
    use = _USE_OF_A_CODEC if about.lambdas else _USE
    parts.append(use.format(folder=folder, quality=len(about.lambdas) // 2 + 1))
    return "\n\n".join(parts) + "\n"


def _table(bundle: Bundle) -> list[str]:
    rows = [
        f"| {graph.file} | {graph.precision} | {graph.agreement['difference']:.2g} | "
        f"{graph.agreement['decisions']:.4%} | {graph.agreement['metric']} "
        f"{graph.agreement['graph'] - graph.agreement['reference']:+.3f} |"
        for graph in bundle.graphs
    ]
    names = ("graph", "precision", "greatest difference", "equal decisions", "change of the metric, points")
    table = ["\n".join([f"| {' | '.join(names)} |", f"|{'---|' * len(names)}", *rows])] if rows else []
    rounded = any(graph.format == "onnx" and graph.precision == "int8" for graph in bundle.graphs)
    return [*table, _INT8] if rounded else table
