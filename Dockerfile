# maskmill with all its packages; the command line is Snakemake's. Results go to /runs: mount a folder of yours there.
#
#   docker build -t maskmill .
#   docker run --rm -v "$PWD/runs:/runs" maskmill results/mars_voc_miou.csv --cores 8
#
# On NVIDIA GPUs:
#
#   docker build -t maskmill:cuda --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD/runs:/runs" maskmill:cuda results/mars_voc_miou.csv --cores 8
#
# BASE may be any Debian or Ubuntu with Python 3.11 or 3.12, in the image or among its packages. If your user id is not
# 1000, add --user "$(id -u):$(id -g)" to `docker run`, so that the results belong to you.
ARG BASE=python:3.11.13-slim-bookworm
FROM ${BASE}

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 USER=maskmill HOME=/home/maskmill PATH=/opt/maskmill/.venv/bin:$PATH

# g++ and Python's headers are for pydensecrf2; Python itself only where the base has none that fits.
COPY envs/find_python.sh /tmp/
# hadolint ignore=DL3008
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends g++ make \
    && { "$(bash /tmp/find_python.sh)" -m ensurepip --version \
        || apt-get install --yes --no-install-recommends python3-dev python3-venv; } \
    && rm -rf /var/lib/apt/lists/* /tmp/find_python.sh

# Any user may write to the home folder (caches) and to /runs.
RUN groupadd --force --gid 1000 maskmill \
    && { id --name --user 1000 || useradd --uid 1000 --gid 1000 --home-dir "$HOME" maskmill; } \
    && install --directory --owner 1000 --group 1000 --mode 777 "$HOME" /runs \
    && install --directory --owner 1000 --group 1000 /opt/maskmill
USER 1000:1000
WORKDIR /opt/maskmill

# The packages have a layer of their own: an edit of the code does not install them again.
COPY --chown=1000:1000 Makefile ./
COPY --chown=1000:1000 envs envs
RUN make .venv/.packages

# Files of equal content may come with a newer time, for which make would install all packages again.
COPY --chown=1000:1000 . .
RUN touch .venv/.packages && make setup

WORKDIR /runs
ENTRYPOINT ["snakemake", "--snakefile", "/opt/maskmill/Snakefile"]
CMD ["--help"]
