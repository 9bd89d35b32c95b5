from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("strangle_messaging", "0005_rings"),
    ]

    operations = [
        migrations.AddField(
            model_name="inbox",
            name="mark",
            field=models.TextField(db_default="", default=""),
        ),
    ]
