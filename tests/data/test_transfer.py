from unittest.mock import Mock

import torch

from kdbench.data.transfer import to_device_async


def test_on_the_cpu_the_tensor_itself_is_returned() -> None:
    tensor = torch.arange(3)
    assert to_device_async(tensor, torch.device("cpu")) is tensor


def test_a_tensor_is_copied_to_another_device() -> None:
    copy = to_device_async(torch.ones(2, 3, dtype=torch.bool), torch.device("meta"))
    assert (copy.device.type, copy.shape, copy.dtype) == ("meta", (2, 3), torch.bool)


def test_a_copy_to_a_gpu_is_pinned_and_non_blocking() -> None:
    tensor, gpu = Mock(), torch.device("cuda", 0)
    assert to_device_async(tensor, gpu) is tensor.pin_memory().to.return_value
    tensor.pin_memory().to.assert_called_once_with(gpu, non_blocking=True)
    tensor.to.assert_not_called()
