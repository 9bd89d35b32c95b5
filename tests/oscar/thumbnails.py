"""Oscar's thumbnails without a library that draws: there are no pictures in these tests."""

from typing import Any


class AsTheyAre:
    """Gives each picture as it is."""

    def generate_thumbnail(self, source: Any, **options: Any) -> Any:
        return source

    def delete_thumbnails(self, source: Any) -> None:
        """Nothing was made."""
