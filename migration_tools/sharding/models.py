"""The tables of sharding: the map, on one database; what each shard holds and what was touched, on every shard."""

from django.db import models


class Map(models.Model):
    """One map; `version` rises with every change of it."""

    name = models.TextField(primary_key=True)
    strategy = models.TextField()
    version = models.BigIntegerField(default=1)

    class Meta:
        db_table = "strangle_shard_map"


class Bucket(models.Model):
    """Where one bucket is; `epoch` rises with every move. `low` is a range's lowest key, `region` a geography's."""

    pk = models.CompositePrimaryKey("map", "bucket")
    map = models.TextField()
    bucket = models.IntegerField()
    shard = models.TextField()
    epoch = models.BigIntegerField(default=1)
    low = models.BigIntegerField(null=True)
    region = models.TextField(default="")

    class Meta:
        db_table = "strangle_shard_bucket"


class HoldState(models.TextChoices):
    """What a shard does with one bucket; absent is `gone`."""

    OWNED = "owned", "reads and writes are served"
    LEAVING = "leaving", "served, and every touched key is noted for the move"
    ARRIVING = "arriving", "being filled; nobody is served"
    GONE = "gone", "served elsewhere"


class Hold(models.Model):
    """On each shard: whether it serves a bucket, under which epoch; what refuses clients with an old map."""

    pk = models.CompositePrimaryKey("map", "bucket")
    map = models.TextField()
    bucket = models.IntegerField()
    epoch = models.BigIntegerField()
    state = models.TextField(choices=HoldState.choices)
    moved_to = models.TextField(default="")

    class Meta:
        db_table = "strangle_shard_hold"


class KeyState(models.TextChoices):
    """What a shard does with one key of a bucket that it serves; absent is `open`. See sharding/relocating.py."""

    OPEN = "open", "served: it came, or stayed after all"
    CLOSED = "closed", "refused: its rows stand still and are copied to another region"
    LEFT = "left", "refused: another region serves it, its rows here are seen by nobody"
    GONE = "gone", "refused: another region serves it, and no row of it is here"
    ARRIVING = "arriving", "refused: its rows come, and are seen by nobody"


class Key(models.Model):
    """On each shard: a key that was to move between regions, and by which relocation it stands where it does."""

    pk = models.CompositePrimaryKey("map", "bucket", "key")
    map = models.TextField()
    bucket = models.IntegerField()
    key = models.TextField()
    state = models.TextField(choices=KeyState.choices)
    relocation = models.TextField()

    class Meta:
        db_table = "strangle_shard_key"


class Home(models.Model):
    """Beside the map: where a key moved to, by which relocation and consent; not settled while nobody serves it."""

    pk = models.CompositePrimaryKey("map", "key")
    map = models.TextField()
    key = models.TextField()
    region = models.TextField()
    relocation = models.TextField()
    consent = models.TextField()
    settled = models.BooleanField()

    class Meta:
        db_table = "strangle_shard_home"


class Touched(models.Model):
    """A key that was written while its bucket was leaving."""

    map = models.TextField()
    bucket = models.IntegerField()
    table_name = models.TextField()
    key = models.TextField()

    class Meta:
        db_table = "strangle_shard_touched"
        indexes = [models.Index(fields=["map", "bucket", "id"], name="strangle_shard_touched_bucket")]
