"""Every error this package raises on purpose, under one root."""

__all__ = [
    "AnomalyVaeError",
    "BundleError",
    "ConfigError",
    "GateFailed",
    "InvalidInput",
    "Overloaded",
    "ServiceError",
    "StartupError",
]


class AnomalyVaeError(Exception):
    """Root of the package's errors; its text is written for the user, in one line."""

    exit_code = 1


class ConfigError(AnomalyVaeError, ValueError):
    """A parameter, option or configuration file asks for something that cannot be."""

    exit_code = 2


class InvalidInput(AnomalyVaeError, ValueError):
    """Rows or a table cannot be used as given.

    Attributes:
        field: The column at fault, where there is one.
    """

    exit_code = 2

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class BundleError(AnomalyVaeError):
    """A model bundle is damaged, hostile, or made by another version."""

    exit_code = 3


class GateFailed(AnomalyVaeError):
    """A trained model did not pass a check that every released model must pass."""

    exit_code = 5


class StartupError(AnomalyVaeError):
    """The server could not start: a port is taken, an address is not ours, a certificate cannot be used."""

    exit_code = 4


class ServiceError(AnomalyVaeError):
    """A call to the service failed for a reason that is not in the rows.

    Attributes:
        code: The gRPC status code's name, such as "UNAVAILABLE".
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Overloaded(ServiceError):
    """The service has too many rows waiting.

    Attributes:
        retry_after: Seconds after which it asks to be called again.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, code="RESOURCE_EXHAUSTED")
        self.retry_after = retry_after
