"""README.md of a bundle: what it is, how good it is, and the commands to use it."""

from pathlib import Path

from imagier.deploy.bundle import Bundle


def readme(bundle: Bundle, folder: Path) -> str:
    """The text, for a bundle that will lie at `folder`."""
    about = bundle.description
    takes = "RGB" if about.channels == 3 else "grey"
    size = f", resized to {about.resize[0]} x {about.resize[1]} (height x width)" if about.resize else " of any size"
    parts = [f"# {about.name}\n\nA net for task `{about.task}`: {about.net}. It takes {takes} pictures{size}."]
    if about.classes:
        parts.append(f"Classes: {', '.join(about.classes)}.")
    if scores := about.metrics.get("scores"):
        measured = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if "/" not in name)
        parts.append(f"Measured on the {about.metrics['split']} split of {about.metrics['data']}: {measured}.")
    rows = [
        f"| {graph.file} | {graph.precision} | {graph.agreement['difference']:.2g} | "
        f"{graph.agreement['decisions']:.4%} | {graph.agreement['graph'] - graph.agreement['reference']:+.3f} |"
        for graph in bundle.graphs
    ]
    if rows:
        names = ("graph", "precision", "greatest difference", "equal decisions", "change of the metric, points")
        parts.append("\n".join([f"| {' | '.join(names)} |", f"|{'---|' * len(names)}", *rows]))
    parts.append(
        f"```\nimagier predict ckpt={folder} source=photo.jpg\n```\n\n```python\nimport imagier\n\n"
        f'predictor = imagier.load("{folder}")\nanswer = predictor("photo.jpg")\nanswer.show()\n```'
    )
    return "\n\n".join(parts) + "\n"
