"""The address of a broker, which prints itself without its password."""

from urllib.parse import unquote, urlsplit

from migration_tools.errors import SettingsError

AMQP = ("amqp", "amqps", "pyamqp")
REDIS = ("redis", "rediss")


class BrokerUrl:
    """MIGRATION_TOOLS['BROKER_URL']; `secret` is for the driver only, `str()` is for everybody.

    Raises:
        SettingsError: it names neither RabbitMQ nor Redis.
    """

    def __init__(self, secret: str):
        parts = urlsplit(secret)
        if parts.scheme not in AMQP + REDIS:
            raise SettingsError(
                f"MIGRATION_TOOLS['BROKER_URL'] begins with {parts.scheme!r}; use "
                "amqp://user:password@host:5672// (RabbitMQ) or redis://:password@host:6379/0"
            )
        self.secret = secret
        self.is_amqp = parts.scheme in AMQP
        user, at, place = parts.netloc.rpartition("@")
        name, colon, password = user.partition(":")
        self._shown = f"{parts.scheme}://{name}{colon and ':***'}{at}{place}{parts.path}"
        self._secrets = sorted({password, unquote(password)} - {""}, key=len, reverse=True)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return repr(self._shown)

    def describe(self, error: Exception) -> str:
        """Type and first line of a driver's error, without the password."""
        line = (str(error).splitlines() or [""])[0]
        for each in self._secrets:
            line = line.replace(each, "***")
        return f"{type(error).__name__}: {line}" if line else type(error).__name__
