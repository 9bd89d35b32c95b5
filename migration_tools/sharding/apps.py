"""The sharding room as an application; its tables are on every shard, the map is used on one database."""

from django.apps import AppConfig


class ShardingConfig(AppConfig):
    """Nothing to do at start."""

    name = "migration_tools.sharding"
    label = "strangle_sharding"
    verbose_name = "Strangler sharding"
    default_auto_field = "django.db.models.BigAutoField"
