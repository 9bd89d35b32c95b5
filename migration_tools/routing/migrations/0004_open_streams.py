from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("strangle_routing", "0003_shadow_reads"),
    ]

    operations = [
        migrations.AddField(
            model_name="proxyinstance",
            name="streams",
            field=models.JSONField(default=dict),
        ),
    ]
