"""Values are taken out of what carries them as they were written."""

from migration_tools.messaging.foreign.lines import values_in, values_of


def test_numbers_in_an_array_of_messages_are_not_written_anew() -> None:
    assert values_in(b'[ {"a": 1.10}, null ,[2.00]]') == ['{"a": 1.10}', None, "[2.00]"]
    assert values_of('{"a": 1.10}') == '{"a": 1.10}'
