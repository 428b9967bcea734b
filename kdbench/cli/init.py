"""`kdbench init`: a commented matrix to start from."""

import re
import shlex
from pathlib import Path

from kdbench.errors import MatrixError

TEMPLATE = """\
# A matrix: every data set x pair x method x configuration x seed is one run.
#   kdbench plan {file}     check it and print what would run
#   kdbench run {file}      train it, write the report, print the table; rerun to resume
# The two baselines, teacher and student from scratch, are always included. Every other key has a default.

name = "{name}"
seeds = [0, 1, 2]                           # five or more, and the report tests which methods can be the best
datasets = ["digits"]                       # kdbench list datasets
pairs = [                                   # kdbench list networks
  {{ teacher = "cnn_32_64_fc128", student = "cnn_8_16" }},
]

[recipe]                                    # how every network is trained
epochs = 30
batch_size = 64
optimizer = {{ name = "adamw", lr = 3e-3, weight_decay = 0.01 }}    # sgd, adam, adamw
schedule = {{ name = "one_cycle" }}           # constant, multistep, cosine, one_cycle, plateau; warmup in epochs
augment = [{{ name = "translate", pixels = 1 }}]  # crop, flip, translate, rotate90, random_erasing
precision = "auto"                          # bf16 if the CPU or GPU supports it; bf16, fp32, tf32
# grad_clip_norm = 5.0                      # largest norm of the gradient
# early_stopping = {{ patience = 10 }}        # in epochs; keeps the weights of the best epoch
# monitor = "accuracy"                      # the best epoch has the highest validation accuracy, or the lowest "loss"

[recipe.student]                            # overrides [recipe] for students; [recipe.teacher] for teachers
train_samples = 500                         # a stratified subset of the training images
# optimizer.lr = [3e-3, 1e-2]               # a list is swept, for the student from scratch and for every method

[protocol]
validation = 0.1                            # stratified share of the training images; the test set chooses nothing
split_seed = 0                              # one split for all seeds; "paired": one split per seed
teacher_seed = 0                            # one teacher for all seeds; "paired": one teacher per seed
track_test = false                          # true: test metrics after every epoch
# search_seeds = [100]                      # sweeps are trained on these seeds, the chosen values on `seeds`
# refit = true                              # train the chosen ones on the validation images too; needs search_seeds

[methods.vanilla]                           # kdbench list methods; a list is swept, a single value is fixed
alpha = [0.5, 0.9]
temperature = 4.0
# zip = [["alpha", "temperature"]]          # keys that vary together

[methods."vanilla + rkd_da"]                # a sum: one cross-entropy plus the other terms of both methods
vanilla.temperature = 4.0

# [dataset.mine]                            # a custom data set; name it in `datasets`
# kind = "npz"
# root = "data/mine.npz"

# [network.mine]                            # a custom network; name it in `pairs`
# factory = "mypackage.nets:make"
# weights = "weights.safetensors"           # initial weights: a file, or the folder of a finished run

# [network.imagenet]                        # a network of timm or torchvision with pretrained weights
# architecture = "timm:resnet18"
# pretrained = true                         # recipe.teacher.epochs = 0 uses it as a teacher without training

# [[exclude]]
# method = "vanilla + rkd_da"
# dataset = "digits"
# why = "..."

# [[override]]
# when = {{ dataset = "digits" }}
# set = {{ recipe.epochs = 40 }}

[run]                                       # where and how to run; not part of a run's identity
devices = "auto"                            # auto, cpu, cuda
# workers = 2
# threads = 1                               # per worker; fixed for a results folder by its first run
# cuda_graphs = true                        # faster training of small networks on a GPU
"""


def write_template(path: Path) -> str:
    """Write the commented matrix; return the command that checks it.

    Raises:
        MatrixError: the file exists, or cannot be written.
    """
    if path.exists():
        raise MatrixError(f"{path}: the file exists; choose another name: kdbench init {_free_name(path)}")
    name = re.sub(r"[^A-Za-z0-9._-]|^[._-]+", "", path.stem)[:80] or "matrix"
    try:
        path.write_text(TEMPLATE.format(file=path, name=name), encoding="utf-8")
    except OSError as error:
        reason = f"cannot be written ({error.strerror})"
        raise MatrixError(f"{path}: {reason}; name a file in a folder that exists and is writable") from None
    return shlex.join(["kdbench", "plan", str(path)])


def _free_name(path: Path) -> str:
    candidates = (path.with_stem(f"{path.stem}-{n}") for n in range(2, 1000))
    return shlex.quote(str(next(candidate for candidate in candidates if not candidate.exists())))
