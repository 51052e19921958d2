"""README.md of a bundle: its network, scores, graphs, and the commands to use it."""

from imagier.deploy.bundle import WHOLE, Bundle

_USE = """```
imagier predict ckpt=. source=photo.jpg
```

```python
import imagier

predictor = imagier.load(".")
answer = predictor("photo.jpg")
answer.show()
```"""

_USE_OF_A_CODEC = """```
imagier compress photo.jpg ckpt=. quality={quality}
imagier decompress compressed ckpt=.
```

```python
import imagier

codec = imagier.load(".")
answer = codec("photo.jpg", quality={quality})
answer.save("photo.imgr")  # or photo.png: the image after decompression
pixels = codec.decompress(answer.data)
```

Only this bundle, and the checkpoint that it was exported from, can decompress these files. The pixels are the same on
any machine, with any `threads=` and any runtime."""

_ELSEWHERE = """In other programs: the graph takes uint8 [B, C, H, W], {takes} with values 0 to 255, {sizes};
normalisation is part of the graph. It returns float32: {returns}.

```python
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("{file}")
picture = Image.open("photo.jpg").convert("{mode}"){resized}
pixels = np.array(picture, np.uint8).reshape(picture.height, picture.width, -1)
(answer,) = session.run(None, {{"image": pixels.transpose(2, 0, 1)[None]}})
```{area}"""

_AREA = "\n\nimagier itself downscales images by area averaging, which differs slightly from Pillow."
_RETURNS = {
    "segment": "logits [B, classes, H, W]",
    "classify": "logits [B, classes]",
    "denoise": "images [B, C, H, W] with values 0 to 1",
}

_INT8 = """To run an int8 ONNX graph with onnxruntime directly, call
`SessionOptions.add_session_config_entry("session.x64quantprecision", "1")`, as imagier does: without it, sums overflow
on processors without VNNI."""


def readme(bundle: Bundle) -> str:
    """Return the text; its commands are run in the bundle's folder, wherever that is copied."""
    about = bundle.description
    takes = "RGB" if about.channels == 3 else "grey"
    size = f", resized to {about.resize[0]} x {about.resize[1]} (height x width)" if about.resize else " of any size"
    parts = [f"# {about.name}\n\nA network for task `{about.task}`: {about.net}. It takes {takes} images{size}."]
    if about.classes:
        parts.append(f"Classes: {', '.join(about.classes)}.")
    if about.lambdas:
        served = ", ".join(f"{number} (lambda {value:g})" for number, value in enumerate(about.lambdas, 1))
        parts.append(f"Qualities, from the smallest files to the best images: {served}.")
    if scores := about.metrics.get("scores"):
        measured = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if "/" not in name)
        samples = f", {about.metrics['samples']:,} samples" if "samples" in about.metrics else ""
        parts.append(f"Scores on the {about.metrics['split']} split of {about.metrics['data']}{samples}: {measured}.")
    else:
        parts.append("No scores: the run was not evaluated, or this checkpoint is not its best one.")
    parts += _table(bundle)
    use = _USE_OF_A_CODEC if about.lambdas else _USE
    parts.append(use.format(quality=len(about.lambdas) // 2 + 1))
    parts += _elsewhere(bundle)
    return "\n\n".join(parts) + "\n"


def _elsewhere(bundle: Bundle) -> list[str]:
    """How other programs run the ONNX graph, if there is one of a whole network."""
    graphs = [graph for graph in bundle.graphs if (graph.format, graph.part) == ("onnx", WHOLE)]
    about = bundle.description
    if not graphs:
        return []
    grey = about.channels == 1
    size = f"({about.resize[1]}, {about.resize[0]})" if about.resize else ""
    told = _ELSEWHERE.format(
        takes="grey" if grey else "RGB",
        sizes=f"H x W of {about.resize[0]} x {about.resize[1]}" if about.resize else "of any size",
        returns=_RETURNS[about.task],
        file=graphs[0].file,
        mode="L" if grey else "RGB",
        resized=f".resize({size})" if size else "",
        area=_AREA if size else "",
    )
    return [told]


def _table(bundle: Bundle) -> list[str]:
    rows = [
        f"| {graph.file} | {graph.precision} | {graph.agreement['difference']:.2g} | "
        f"{graph.agreement['decisions']:.4%} | {graph.agreement['metric']} "
        f"{graph.agreement['graph'] - graph.agreement['reference']:+.3f} |"
        for graph in bundle.graphs
    ]
    names = ("graph", "precision", "max difference", "equal decisions", "change in metric, points")
    table = ["\n".join([f"| {' | '.join(names)} |", f"|{'---|' * len(names)}", *rows])] if rows else []
    rounded = any(graph.format == "onnx" and graph.precision == "int8" for graph in bundle.graphs)
    return [*table, _INT8] if rounded else table
