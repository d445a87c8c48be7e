"""List everything that a client can be told went wrong, each with its HTTP status.

* ServiceError
  - BrokenRequest 400 · HeadTooLarge 431 · HeadTooSlow 408 · TooManyConnections 503
  - InvalidRequest 422 · UnreadableImage 422
  - Unauthorized 401 · Forbidden 403 · RateLimited 429 · UnknownModel 404 · NotAcceptable 406 · UnsupportedImage 415
  - BodyTooLarge 413 · ImageTooLarge 413 · BodyTooSlow 408
  - ForwardFailed 500 · ClientGone 499 (logged, never sent)
  - QueueFull 503 · ModelNotReady 503 · ModelFailed 503 · NoRoom 503 · ShuttingDown 503 · OutOfMemory 503
  - DeviceFailed 503 · DeadlineExceeded 504
"""

from __future__ import annotations

import re


class ServiceError(Exception):
    """Tell a client what went wrong; the message is public, so it holds no path and no library's words."""

    status = 500
    title = "The service failed"
    retry_after: int | None = None

    @property
    def detail(self) -> str:
        """Give the message for this one case."""
        return str(self.args[0]) if self.args else self.title

    @property
    def slug(self) -> str:
        """Give the stable name of the kind of error, such as ``queue-full``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(self).__name__).lower()


class InvalidRequest(ServiceError):
    """The request asks for something that does not exist, or not in the agreed way."""

    status = 422
    title = "The request is not valid"


class BrokenRequest(ServiceError):
    """The bytes are no HTTP/1.1 request, or one that could be read in two ways."""

    status = 400
    title = "The request cannot be read"


class HeadTooLarge(ServiceError):
    """The line and headers of the request have more bytes than allowed."""

    status = 431
    title = "The request head is too large"


class HeadTooSlow(ServiceError):
    """The line and headers of the request did not arrive in time."""

    status = 408
    title = "The request head came too slowly"


class UnreadableImage(ServiceError):
    """The bytes are no image, or a broken one."""

    status = 422
    title = "The image cannot be read"


class Unauthorized(ServiceError):
    """The request does not say who asks, or not rightly."""

    status = 401
    title = "The key or token is missing or wrong"


class RateLimited(ServiceError):
    """A key asks more often than it may."""

    status = 429
    title = "Too many requests with this key"
    retry_after = 1


class Forbidden(ServiceError):
    """Nobody may do this here."""

    status = 403
    title = "This is switched off"


class UnknownModel(ServiceError):
    """No model of that name is served."""

    status = 404
    title = "There is no such model"


class NotAcceptable(ServiceError):
    """The client accepts no format that the service has."""

    status = 406
    title = "No acceptable output format"


class UnsupportedImage(ServiceError):
    """The image may be fine, but its kind is not one that is read."""

    status = 415
    title = "This kind of image is not supported"


class BodyTooLarge(ServiceError):
    """The body has more bytes than allowed."""

    status = 413
    title = "The request body is too large"


class ImageTooLarge(ServiceError):
    """The image has more pixels than allowed."""

    status = 413
    title = "The image is too large"


class BodyTooSlow(ServiceError):
    """The body did not arrive in time."""

    status = 408
    title = "The request body came too slowly"


class ForwardFailed(ServiceError):
    """The network failed on this very image."""

    status = 500
    title = "The model failed on this image"


class ClientGone(ServiceError):
    """The client hung up before its answer was ready."""

    status = 499
    title = "The client has gone"


class TooManyConnections(ServiceError):
    """As many connections as allowed are already open."""

    status = 503
    title = "The service has too many connections"
    retry_after = 1


class QueueFull(ServiceError):
    """As many images as allowed are already being worked on."""

    status = 503
    title = "The service is busy"
    retry_after = 1


class ModelNotReady(ServiceError):
    """The model is known, but it cannot answer yet."""

    status = 503
    title = "The model is not ready"
    retry_after = 5


class ModelFailed(ServiceError):
    """The model is known, but it could not be loaded, and will not be until its file changes."""

    status = 503
    title = "The model could not be loaded"


class NoRoom(ServiceError):
    """The models that are in use take all the memory that the models may have."""

    status = 503
    title = "There is no room for the model now"
    retry_after = 5


class ShuttingDown(ServiceError):
    """The service is about to stop and takes no more work."""

    status = 503
    title = "The service is shutting down"
    retry_after = 5


class OutOfMemory(ServiceError):
    """The device has not enough memory for this image now."""

    status = 503
    title = "The device is out of memory"
    retry_after = 5


class DeviceFailed(ServiceError):
    """The device does not work any more; the process has to be replaced."""

    status = 503
    title = "The device has failed"
    retry_after = 10


class DeadlineExceeded(ServiceError):
    """The answer was not ready in time."""

    status = 504
    title = "The answer took too long"
