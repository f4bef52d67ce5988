"""Every error this package raises on purpose, under one root."""

__all__ = ["AnomalyVaeError", "BundleError", "ConfigError", "GateFailed", "InvalidInput"]


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
