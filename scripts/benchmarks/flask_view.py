"""A bundle's network behind a typical Flask view: eager PyTorch, Pillow, Flask's own server.

python scripts/benchmarks/flask_view.py BUNDLE PORT
"""

import io
import sys
from pathlib import Path

import numpy as np
import torch
from flask import Flask, Response, jsonify, request
from PIL import Image

from imagier.deploy.bundle import read_bundle
from imagier.deploy.network import load_network
from imagier.models.pixels import FromPixels

bundle = read_bundle(Path(sys.argv[1]))
about, inner = bundle.description, load_network(bundle).net
net = FromPixels(inner, about.mean, about.std).to(memory_format=torch.contiguous_format).eval()
app = Flask(__name__)


@app.post("/predict")
@torch.inference_mode()
def predict() -> Response:
    """Return the classes with their probabilities as JSON, or a mask as PNG."""
    picture = Image.open(io.BytesIO(request.get_data())).convert("RGB" if about.channels == 3 else "L")
    if about.resize:
        picture = picture.resize(about.resize[::-1], Image.Resampling.BILINEAR)
    image = torch.from_numpy(np.array(picture)).view(1, *picture.size[::-1], about.channels).permute(0, 3, 1, 2)
    logits = net(image)
    if about.task == "classify":
        best = logits.softmax(1)[0].topk(min(5, len(about.classes)))
        top = [{"class": about.classes[k], "probability": p.item()} for p, k in zip(*best, strict=True)]
        return jsonify({"label": top[0]["class"], "top": top})
    file = io.BytesIO()
    Image.fromarray(logits.argmax(1)[0].to(torch.uint8).numpy()).save(file, "PNG")
    return Response(file.getvalue(), mimetype="image/png")


if __name__ == "__main__":
    app.run(port=int(sys.argv[2]), threaded=True)
