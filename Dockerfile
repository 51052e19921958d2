# `imagier serve` with a bundle mounted at /bundle:
#   docker build --target cpu -t imagier:cpu .    the bundle's graphs in onnxruntime, on the processor
#   docker build --target gpu -t imagier:gpu .    its net in torch, on an NVIDIA GPU
#   docker run --rm --init -p 127.0.0.1:8000:8000 -v "$PWD/runs/latest/bundle:/bundle:ro" imagier:cpu

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim AS cpu
COPY constraints.txt /wheels/
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        --find-links /wheels --constraint /wheels/constraints.txt 'imagier[serve,page]' \
    && useradd --uid 10001 --create-home imagier
USER 10001
WORKDIR /home/imagier
EXPOSE 8000
# Memory of large pictures is given back: glibc keeps a pool for each of many threads.
ENV MALLOC_ARENA_MAX=2
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["imagier", "serve", "host=0.0.0.0", "ckpt=/bundle"]

FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS gpu
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* && python3 -m venv /opt/imagier
ENV PATH=/opt/imagier/bin:$PATH
COPY constraints.txt /wheels/
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --find-links /wheels --constraint /wheels/constraints.txt 'imagier[serve,page]' \
    && useradd --uid 10001 --create-home imagier
USER 10001
WORKDIR /home/imagier
EXPOSE 8000
# Memory of large pictures is given back: glibc keeps a pool for each of many threads.
ENV MALLOC_ARENA_MAX=2
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["imagier", "serve", "host=0.0.0.0", "ckpt=/bundle", "runtime=torch", "device=cuda"]
