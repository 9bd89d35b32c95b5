"""Two variables tell all sides which broker carries their streams; a mistake in them says what to write."""

import pytest

from migration_tools.errors import SettingsError
from migration_tools.service.environment import broker


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STRANGLE_TRANSPORT", "STRANGLE_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_word_the_feed_alone_carries_streams() -> None:
    assert broker() == {"TRANSPORT": "feed", "BROKER_URL": ""}


def test_a_broker_is_named_by_transport_and_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGLE_TRANSPORT", "kombu")
    monkeypatch.setenv("STRANGLE_BROKER_URL", "redis://:secret@127.0.0.1:6379/0")
    assert broker() == {"TRANSPORT": "kombu", "BROKER_URL": "redis://:secret@127.0.0.1:6379/0"}


@pytest.mark.parametrize(
    ("transport", "said"),
    [
        ("rabbitmq", r"'rabbitmq'; it must be one of \['feed', 'kombu', 'kafka'\] or 'package.module:Class'"),
        ("kombu", r"STRANGLE_BROKER_URL is empty; set it to amqp://.* or redis://.*, or STRANGLE_TRANSPORT to 'feed'"),
        ("kafka", r"STRANGLE_BROKER_URL is empty; set it to kafka://host:9092, or"),
        ("shop.wire:Mine", r"STRANGLE_BROKER_URL is empty; set it to what the class takes, or"),
    ],
)
def test_a_mistake_says_what_to_write(monkeypatch: pytest.MonkeyPatch, transport: str, said: str) -> None:
    monkeypatch.setenv("STRANGLE_TRANSPORT", transport)
    with pytest.raises(SettingsError, match=said):
        broker()
