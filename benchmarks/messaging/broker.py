"""The benchmark's RabbitMQ: for us by AMQP, for the peer, which speaks STOMP alone, by the server's own plugin."""

from migration_tools.testing.brokers import EmbeddedRabbit
from migration_tools.testing.postgres import free_port


class BenchRabbit(EmbeddedRabbit):
    """RabbitMQ with rabbitmq_stomp."""

    def __init__(self) -> None:
        self.stomp_port = free_port()
        super().__init__()

    def _write_settings(self) -> None:
        super()._write_settings()
        with (self.directory / "rabbitmq.conf").open("a") as settings:
            settings.write(f"stomp.listeners.tcp.1 = 127.0.0.1:{self.stomp_port}\n")
        (self.directory / "plugins").write_text("[rabbitmq_stomp].\n")
