from unittest.mock import Mock

import torch

from kdbench.data.transfer import to_device_async


def test_on_the_processor_a_tensor_stays_as_it_is() -> None:
    tensor = torch.arange(3)
    assert to_device_async(tensor, torch.device("cpu")) is tensor


def test_to_another_device_it_is_copied() -> None:
    copy = to_device_async(torch.ones(2, 3, dtype=torch.bool), torch.device("meta"))
    assert (copy.device.type, copy.shape, copy.dtype) == ("meta", (2, 3), torch.bool)


def test_to_a_gpu_it_goes_from_pinned_memory_and_nobody_waits() -> None:
    tensor, gpu = Mock(), torch.device("cuda", 0)
    assert to_device_async(tensor, gpu) is tensor.pin_memory().to.return_value
    tensor.pin_memory().to.assert_called_once_with(gpu, non_blocking=True)
    tensor.to.assert_not_called()
