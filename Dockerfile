# brats-ablate for CUDA; for CPUs: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
FROM python:3.12-slim

# A C++ compiler for torch.compile; Git for the version of a checkout.
RUN apt-get update && apt-get install -y --no-install-recommends g++ git && rm -rf /var/lib/apt/lists/*

ARG TORCH_INDEX=https://pypi.org/simple
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple -c /tmp/constraints.txt torch

COPY . /src
RUN pip install --no-cache-dir -c /tmp/constraints.txt '/src[export,optuna,tensorboard,wandb]' && rm -rf /src

ENV BRATS_ABLATE_WORK=/work NUMBA_CACHE_DIR=/tmp/numba TORCHINDUCTOR_CACHE_DIR=/tmp/inductor
WORKDIR /work
ENTRYPOINT ["brats-ablate"]
CMD ["--help"]
