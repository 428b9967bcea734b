"""Measure the inference time of a deployed network, alone on the device, once per architecture."""

from dataclasses import replace

import torch

from kdbench import models
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.provenance import now
from kdbench.results.timings import Timing, TimingEnvironment, timed_architectures, timing_lock, write_timing
from kdbench.training.evaluation import measure_inference
from kdbench.training.network import Frozen
from kdbench.worker.build import build_method
from kdbench.worker.cohort_data import load_task
from kdbench.worker.environment import device_name
from kdbench.worker.run_writer import architecture_key


def time_run(spec: RunSpec, store: Store, device: torch.device) -> str:
    """Measure the network that a run deploys, with random weights, unless this environment has measured it before.

    Returns the key of the architecture.
    """
    task = load_task(spec)

    def untrained(need: RunSpec) -> Frozen:
        return Frozen(models.build_from_spec(need.student, task))

    peers = tuple(peer.untrained() for peer in spec.peers)
    untrained_spec = replace(spec, student=spec.student.untrained(), peers=peers)
    network = next(iter(build_method(untrained_spec, task, device, untrained).deployed().values()))
    architecture = architecture_key(network, task.image_shape, spec)
    environment = TimingEnvironment.here(device_name(device), torch.get_num_threads())
    with timing_lock(store.timings):
        if architecture not in timed_architectures(store.timings, [environment]):
            times = measure_inference(network, task.image_shape)
            write_timing(store.timings, Timing(architecture, environment, now(), times))
    return architecture
