"""Read which precision the networks of a device compute in."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from service.settings import BadSetting, PrecisionName

DTYPES: Mapping[PrecisionName, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_DEVICE = re.compile(r"(cpu|cuda)(:\d{1,2})?")


def precision_for(setting: str, device: torch.device) -> PrecisionName:
    """Give the precision that a setting has for a device: its own, else that of its kind, else float32.

    The setting is one precision for all devices, or such as ``cuda=bfloat16,cpu=float32``.

    Raises:
        BadSetting: Anywhere in the setting a precision or a device is unknown, or a device is named twice.
    """
    if "=" not in setting:
        return _precision(setting, setting)
    by_device = _by_device(setting)
    return by_device.get(str(device)) or by_device.get(device.type) or "float32"


def _by_device(setting: str) -> dict[str, PrecisionName]:
    found: dict[str, PrecisionName] = {}
    for part in setting.split(","):
        device, _, precision = part.partition("=")
        device = device.strip()
        if not _DEVICE.fullmatch(device):
            raise _refusal(setting, f"{device!r} is no device, as cpu, cuda and cuda:0 are")
        if device in found:
            raise _refusal(setting, f"{device} is named twice")
        found[device] = _precision(precision, setting)
    return found


def _precision(word: str, setting: str) -> PrecisionName:
    for name in DTYPES:
        if word.strip() == name:
            return name
    raise _refusal(setting, f"{word.strip()!r} is no precision")


def _refusal(setting: str, reason: str) -> BadSetting:
    allowed = f"{', '.join(DTYPES)}, or by device, such as cuda=bfloat16,cpu=float32"
    return BadSetting(f"bad setting precision={setting}: {reason}; allowed are {allowed}")
