"""The address of a broker, which prints itself without its password."""

from urllib.parse import parse_qsl, unquote, urlsplit

from migration_tools.errors import SettingsError

AMQP = ("amqp", "amqps", "pyamqp")
REDIS = ("redis", "rediss")
KAFKA = ("kafka", "kafkas")
EXAMPLES: dict[tuple[str, ...], str] = {
    AMQP: "amqp://user:password@host:5672// (RabbitMQ)",
    REDIS: "redis://:password@host:6379/0",
    KAFKA: "kafka://host:9092,host:9092 or kafkas://user:password@host:9093 (TLS)",
}


class BrokerUrl:
    """MIGRATION_TOOLS['BROKER_URL']; `secret` is for the driver only, `str()` is for everybody.

    Raises:
        SettingsError: its scheme is none of those that the transport takes.
    """

    def __init__(self, secret: str, schemes: tuple[str, ...]):
        parts = urlsplit(secret)
        if parts.scheme not in schemes:
            examples = [text for names, text in EXAMPLES.items() if set(names) <= set(schemes)]
            raise SettingsError(
                f"MIGRATION_TOOLS['BROKER_URL'] begins with {parts.scheme!r}; use {' or '.join(examples)}"
            )
        self.secret = secret
        self.scheme = parts.scheme
        self.is_amqp = parts.scheme in AMQP
        user, at, place = parts.netloc.rpartition("@")
        name, colon, password = user.partition(":")
        self.user = unquote(name)
        self.password = unquote(password)
        self.hosts = [host for host in place.split(",") if host]
        self.options = dict(parse_qsl(parts.query))
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
