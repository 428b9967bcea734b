"""`kdbench init`: a commented matrix to start from."""

import re
from pathlib import Path

from kdbench.errors import MatrixError

TEMPLATE = """\
# A matrix: every data set x pair x method x configuration x seed is one run.
#   kdbench plan {file}     what would run, and what cannot
#   kdbench run {file}      train what is missing, print the table; run it again to resume
# The two baselines, the teacher and the student from scratch, are always included.

name = "{name}"
seeds = [0, 1, 2]
datasets = ["digits"]                       # kdbench list datasets
pairs = [                                   # kdbench list networks
  {{ teacher = "cnn_32_64_fc128", student = "cnn_8_16" }},
]

[recipe]                                    # how every network is trained
epochs = 30
batch_size = 64
optimizer = {{ name = "adamw", lr = 3e-3, weight_decay = 0.01 }}    # sgd, adam, adamw
schedule = {{ name = "one_cycle" }}           # constant, multistep, cosine, one_cycle, plateau; warmup in epochs
augment = [{{ name = "translate", pixels = 1 }}]  # crop, flip, shift, rotate90, erase
precision = "auto"                          # bf16 where the processor or GPU has it; bf16, fp32
# grad_clip_norm = 5.0                      # bounds the gradient's norm
# early_stopping = {{ patience = 10 }}        # on the validation loss; the best epoch's weights are kept

[recipe.student]                            # refines [recipe] for students; [recipe.teacher] for teachers
train_samples = 500                         # a stratified subset of the training images

[protocol]
validation = 0.1                            # stratified share of the training images; test never chooses anything
split_seed = 0                              # fixes the split for all seeds
teacher_seed = 0                            # one teacher for all seeds; "paired": each seed its own
track_test = false

[methods.vanilla]                           # kdbench list methods; a list is swept, a scalar is fixed
alpha = [0.5, 0.9]
temperature = 4.0
# zip = [["alpha", "temperature"]]          # keys that move together

[methods."vanilla + rkd_da"]                # a sum: one cross-entropy, all other terms beside it
vanilla.temperature = 4.0

# [dataset.mine]                            # a data set of your own; name it in `datasets`
# kind = "npz"
# root = "data/mine.npz"

# [network.mine]                            # a network of your own; name it in `pairs`
# factory = "mypackage.nets:make"
# weights = "weights.safetensors"           # where it starts: a file, or the folder of a finished run

# [network.imagenet]                        # a known network with its library's weights
# architecture = "timm:resnet18"
# pretrained = true                         # recipe.teacher.epochs = 0 uses a teacher as it is

# [[exclude]]
# method = "vanilla + rkd_da"
# dataset = "digits"
# why = "..."

# [[override]]
# when = {{ dataset = "digits" }}
# set = {{ recipe.epochs = 40 }}

[run]                                       # where and how; never part of a run's identity
devices = "auto"                            # auto, cpu, cuda
# workers = 2
# threads = 1                               # per worker; chosen once per results folder
# cuda_graphs = true                        # on a GPU: record the steps of small networks, and repeat them
"""


def write_template(path: Path) -> None:
    """Write the commented matrix.

    Raises:
        MatrixError: the file is there already, or cannot be written.
    """
    if path.exists():
        raise MatrixError(f"{path}: is there already; name another file, or remove it")
    name = re.sub(r"[^A-Za-z0-9._-]|^[._-]+", "", path.stem)[:80] or "matrix"
    try:
        path.write_text(TEMPLATE.format(file=path, name=name), encoding="utf-8")
    except OSError as error:
        raise MatrixError(
            f"{path}: cannot be written ({error.strerror}); name a file in a folder that is there and can be written to"
        ) from None
