"""The errors that this package raises, with one base class, and the class of its warnings."""

__all__ = [
    "AnomalyVaeError",
    "AnomalyVaeWarning",
    "BundleError",
    "ConfigError",
    "GateFailed",
    "InvalidInput",
    "Overloaded",
    "RemoteError",
    "ServiceError",
    "StartupError",
]


class AnomalyVaeError(Exception):
    """Base class of the package's errors. The text is one line, written for the user.

    Attributes:
        exit_code: Exit code of the command line.
    """

    exit_code = 1


class ConfigError(AnomalyVaeError, ValueError):
    """A parameter, an option or a configuration file has a value that is not possible."""

    exit_code = 2


class InvalidInput(AnomalyVaeError, ValueError):
    """Rows or a table cannot be used.

    Attributes:
        field: The column at fault; None if it is not one column.
    """

    exit_code = 2

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class BundleError(AnomalyVaeError):
    """A model bundle is damaged, unsafe, or of another format version."""

    exit_code = 3


class GateFailed(AnomalyVaeError):
    """A model failed a release gate, a check that every exported model must pass, or a limit that the user gave."""

    exit_code = 5


class StartupError(AnomalyVaeError):
    """The server could not start: a port is in use, an address is not on this machine, a certificate is wrong."""

    exit_code = 4


class RemoteError(AnomalyVaeError):
    """Remote storage cannot be reached or refuses the access, not because of a bundle there."""


class ServiceError(AnomalyVaeError):
    """A call to the service failed, not because of its rows.

    Attributes:
        code: Name of the gRPC status code, such as "UNAVAILABLE".
    """

    def __init__(self, message: str, *, code: str = "UNKNOWN") -> None:  # a default, so that it can be unpickled
        super().__init__(message)
        self.code = code


class Overloaded(ServiceError):
    """The queue of the service is full.

    Attributes:
        retry_after: Seconds to wait before the next call, as the service requests.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message, code="RESOURCE_EXHAUSTED")
        self.retry_after = retry_after


class AnomalyVaeWarning(UserWarning):
    """Every warning of this package's Python API, so that ``warnings.filterwarnings`` can choose them."""
