"""ClickHouse: one dialect, and one small adapter for a server and one for the engine inside this process."""
