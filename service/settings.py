"""Hold every setting of the service, made once at the start from options and SEGSERVE_* variables."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

import model_zoo

PREFIX = "SEGSERVE_"
SHIPPED_CHECKPOINTS = Path(model_zoo.__file__).parent / "checkpoints"
SHIPPED_DEFAULT = "deeplabv3plus-lite2-voc"
"""The model among them that answers where neither a request nor the settings name one."""

MOST_PIXELS = 89_478_485
"""Above this Pillow begins to refuse images in words of its own."""

AUTO = "auto"
"""The runtime that is what segserve tune has found for a checkpoint, or else torch."""

LEAST_TOKEN = 16
"""Characters of a token that nobody guesses."""

_ONE_DEVICE = r"(cpu|cuda)(:\d{1,2})?"
DeviceNames = Annotated[str, StringConstraints(pattern=rf"^(auto|{_ONE_DEVICE}(,{_ONE_DEVICE})*)$")]
PrecisionName = Literal["float32", "bfloat16", "float16"]
HexColor = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{6}$")]


class BadSetting(ValueError):
    """A setting is unknown, or its value is not allowed; the message names it."""


class Settings(BaseModel):
    """Hold the settings; durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    checkpoints: Path = Field(default=SHIPPED_CHECKPOINTS, description="checkpoint file, or folder of them")
    default_model: str | None = Field(
        default=None, description="model, or model@version, where a request names none; else the shipped, or only, one"
    )
    watch_interval: float = Field(default=2.0, ge=0, le=3600, description="time between looks at the folder; 0: never")
    strict: bool = Field(default=False, description="stop when a checkpoint found at the start cannot be served")
    loading: Literal["eager", "lazy"] = Field(default="eager", description="load at the start, or on the first request")
    pinned_models: str = Field(default="", description="models, or model@version, never unloaded for others; by commas")
    idle_unload: float = Field(default=0.0, ge=0, le=1e6, description="unload a model unused for so long; 0: never")
    min_residence: float = Field(default=5.0, ge=0, le=3600, description="time that a model keeps its memory at least")
    memory_budget_bytes: int | None = Field(
        default=None, ge=1, description="for models on a device; else 90 % of a GPU"
    )
    runtime: str = Field(
        default=AUTO, description="way to run the models; auto: as segserve tune has found, else torch"
    )
    device: DeviceNames = Field(
        default="auto", description="auto (all GPUs, else the CPU), cpu, cuda, cuda:0,cuda:1 ..."
    )
    precision: str = Field(
        default="float32", description="of the forward pass, or by device: cuda=bfloat16,cpu=float32"
    )
    stall_timeout: float = Field(default=120.0, gt=0, le=3600, description="time of one pass before /healthz fails")
    broken_exit_delay: float = Field(default=30.0, ge=0, le=3600, description="time to exit once a device is broken")
    torch_threads: int | None = Field(default=None, ge=1, le=1024, description="threads of one forward pass on a CPU")
    codec_threads: int = Field(default=2, ge=1, le=256, description="threads that decode, resize and encode")
    max_batch_size: int = Field(default=8, ge=1, le=1024, description="most images in one forward pass")
    max_batch_delay: float = Field(default=0.0, ge=0, le=10, description="wait of an idle device for a fuller batch")
    max_in_flight: int = Field(default=64, ge=1, le=100_000, description="images in work per model; more are refused")
    max_in_flight_pixels: int = Field(default=256_000_000, ge=1, le=1 << 40, description="pixels in work per model")
    bulk_delay: float = Field(
        default=2.0, ge=0, le=60, description="how far bulk images stand behind others in the queue"
    )
    max_connections: int = Field(default=1000, ge=1, le=100_000, description="open connections; more are refused")
    max_body_bytes: int = Field(default=32 << 20, ge=1024, le=1 << 32, description="bytes of a request body")
    max_images_per_request: int = Field(default=16, ge=1, le=1024, description="images in one form")
    max_image_pixels: int = Field(default=25_000_000, ge=1, le=MOST_PIXELS, description="width times height")
    max_image_side: int = Field(default=16_384, ge=1, le=1 << 20, description="width, and height, of an image")
    max_probability_values: int = Field(
        default=1 << 25, ge=0, le=1 << 32, description="classes times pixels of an answer in npz, 2 bytes each; 0: none"
    )
    decode_timeout: float = Field(
        default=10.0, gt=0, le=3600, description="time for decoding one image, in a thread of its own"
    )
    body_timeout: float = Field(default=10.0, gt=0, le=3600, description="time for a request's body to arrive")
    max_pending_body_bytes: int = Field(
        default=1 << 30, ge=1024, le=1 << 40, description="bytes of all bodies arriving"
    )
    request_timeout: float = Field(default=30.0, gt=0, le=3600, description="time from a request's head to its answer")
    max_request_timeout: float = Field(
        default=120.0, gt=0, le=3600, description="the most that X-Request-Timeout may ask"
    )
    drain_delay: float = Field(default=0.0, ge=0, le=600, description="time of serving on, not ready, after SIGTERM")
    shutdown_timeout: float = Field(default=30.0, ge=1, le=3600, description="time to answer what is in flight")
    admin_token: SecretStr | None = Field(
        default=None, min_length=LEAST_TOKEN, description="opens POST /models/...; better a file"
    )
    admin_token_file: Path | None = Field(default=None, description="file that holds the admin token")
    api_keys: SecretStr | None = Field(
        default=None, description="keys that open the service, as in api_keys_file, by semicolons; better a file"
    )
    api_keys_file: Path | None = Field(
        default=None, description="file with a line NAME SHA256 [REQUESTS_A_SECOND] a key; see segserve key"
    )
    api_key_rate: float = Field(
        default=0.0, ge=0, le=1e6, description="requests a second of a key whose line says nothing; 0: any number"
    )
    tls_certificate_file: Path | None = Field(
        default=None, description="PEM file of the certificate, and those between it and its root; then https alone"
    )
    tls_key_file: Path | None = Field(default=None, description="PEM file of the certificate's key, not encrypted")
    cors_origins: str = Field(
        default="", description="web pages that may ask from a browser, as https://example.org; by commas"
    )
    null_batch_seconds: float = Field(default=0.0, ge=0, le=60, description="null runtime: time of a batch")
    null_fail_color: HexColor | None = Field(
        default=None, description="null runtime: first pixel that fails, as ff00ff"
    )
    null_fail_load: bool = Field(default=False, description="null runtime: no model can be loaded")
    tracing: bool = Field(
        default=False, description="send spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")
    log_format: Literal["json", "text"] = Field(default="json", description="json for machines, text for people")

    @property
    def pinned(self) -> frozenset[str]:
        """Give the names in ``pinned_models``."""
        return frozenset(name.strip() for name in self.pinned_models.split(",") if name.strip())

    @property
    def shipped_default(self) -> str | None:
        """Name the default among the checkpoints that ship, where it is their folder that is served."""
        is_theirs = self.checkpoints.resolve() == SHIPPED_CHECKPOINTS.resolve()
        return SHIPPED_DEFAULT if is_theirs else None

    @classmethod
    def read(cls, environment: Mapping[str, str], options: Mapping[str, str]) -> Self:
        """Make the settings; an option goes before the variable of the same name, an empty variable is as none.

        Raises:
            BadSetting: A variable that starts with SEGSERVE_ is unknown, or a value is not allowed.
        """
        variables = {key: value for key, value in environment.items() if key.startswith(PREFIX)}
        names = {variable_name(field): field for field in cls.model_fields}
        for key in variables:
            if key not in names:
                raise BadSetting(_unknown(key, list(names)))
        values = {names[key]: value for key, value in variables.items() if value}
        try:
            return cls.model_validate({**values, **options})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            field = str(first["loc"][0])
            given = option_name(field) if field in options else variable_name(field)
            raise BadSetting(f"bad setting {given}={first['input']}: {first['msg']}") from error


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def variable_name(field: str) -> str:
    """Give the environment variable of a field."""
    return PREFIX + field.upper()


def option_name(field: str) -> str:
    """Give the command line option of a field."""
    return "--" + field.replace("_", "-")


def is_secret(field: str) -> bool:
    """Tell whether a field may not be a command line option, for everybody on the machine can read those."""
    return SecretStr in get_args(Settings.model_fields[field].annotation)


def _unknown(key: str, known: list[str]) -> str:
    nearest = get_close_matches(key.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], n=1)
    return f"unknown setting {key}" + (f"; did you mean {PREFIX}{nearest[0]}?" if nearest else "")
