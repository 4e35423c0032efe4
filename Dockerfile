# docker build .                  serve-full: predict, explain, attack, certify
# docker build --target serve .   without torch: predict and explain
# docker build --target train .   training, evaluation and export
# How to run them: docs/docker.md. What proves them: make image-test.

FROM python:3.11-slim AS base
ENV PATH=/opt/venv/bin:$PATH

FROM base AS venv
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /src

# All dependencies are locked, so a change of the sources, or of pyproject.toml alone, reinstalls nothing.
FROM venv AS serve-dependencies
COPY requirements requirements
RUN pip install --no-deps --require-hashes --requirement requirements/serve.txt

FROM serve-dependencies AS torch
# PyPI's torch is the CUDA build, several GB; of two builds of one version pip prefers this index's, "+cpu".
# pip itself reads the variable, so an empty value leaves the choice to pip's own configuration.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN pip install --no-deps --requirement requirements/torch.txt

FROM torch AS serve-full-dependencies
RUN pip install --no-deps --require-hashes --requirement requirements/serve-full.txt

FROM serve-full-dependencies AS train-dependencies
RUN pip install --no-deps --require-hashes --requirement requirements/train.txt

# Only the distribution itself, laid out to be copied over a venv that holds the rest.
FROM venv AS distribution
COPY pyproject.toml README.md LICENSE ./
COPY model model
COPY service service
COPY training training
COPY evaluation evaluation
COPY whitebox whitebox
RUN pip install --no-deps --prefix /distribution .

FROM base AS runtime
ARG VERSION=0.1.0
LABEL org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.licenses=MIT \
      org.opencontainers.image.base.name=docker.io/library/python:3.11-slim
# Nothing is written at run time: pip has compiled all bytecode, and onnxruntime's telemetry, which would keep
# a database in HOME and report to its maker, is off. foolbox imports GitPython, which without its variable
# refuses to be imported where there is no git.
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    GIT_PYTHON_REFRESH=quiet \
    WHITEBOX_MODELS_DIR=/artifacts
RUN groupadd --gid 10001 whitebox \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin whitebox
COPY artifacts /artifacts

FROM runtime AS train
LABEL org.opencontainers.image.title="whitebox-train" \
      org.opencontainers.image.description="Trains, evaluates and exports a white-box neural network."
COPY --from=train-dependencies /opt/venv /opt/venv
COPY --from=distribution /distribution /opt/venv
RUN install --directory --owner=10001 --group=10001 /data /runs
# With an empty WHITEBOX_DATA_DIR a download goes to the same volume, as a cache.
ENV WHITEBOX_DATA_DIR=/data XDG_CACHE_HOME=/data
VOLUME ["/data", "/runs"]
USER 10001:10001
# Commands write to runs/NAME by default: from here that is the volume.
WORKDIR /
ENTRYPOINT ["whitebox"]
CMD ["--help"]

FROM runtime AS serve-base
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# http.client, unlike urllib, asks no proxy that the environment may name.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-Ic", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=3); c.request('GET', '/v2/health/ready'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["whitebox"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

FROM serve-base AS serve
# Without torch there are no workers; a service that is asked for them and cannot start them is not ready.
ENV WHITEBOX_ATTACK_WORKERS=0 WHITEBOX_CERTIFY_WORKERS=0
LABEL org.opencontainers.image.title="whitebox-serving" \
      org.opencontainers.image.description="Serves a white-box neural network over REST: predict, explain."
COPY --from=serve-dependencies /opt/venv /opt/venv
COPY --from=distribution /distribution /opt/venv

FROM serve-base AS serve-full
LABEL org.opencontainers.image.title="whitebox-serving-full" \
      org.opencontainers.image.description="Serves a white-box neural network over REST: predict, explain, attack, certify."
COPY --from=serve-full-dependencies /opt/venv /opt/venv
COPY --from=distribution /distribution /opt/venv
