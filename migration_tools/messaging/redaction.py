"""What may be told of a value that may be personal: its shape."""

from typing import Any


def hidden(value: Any) -> Any:
    """The shape of a JSON value without the value: names of keys stay, texts become their length."""
    match value:
        case dict():
            return {name: hidden(each) for name, each in value.items()}
        case list():
            return [hidden(each) for each in value[:3]] + ([f"… {len(value)} in all"] if value[3:] else [])
        case str():
            return f"text of {len(value)}"
        case None | bool():
            return value
        case _:
            return type(value).__name__
