from django.db import migrations, models

import guestbook.models


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="entry",
            name="picture",
            field=models.FileField(blank=True, upload_to=guestbook.models.picture_path),
        ),
        migrations.AddField(
            model_name="entry",
            name="is_spam",
            field=models.BooleanField(default=False, verbose_name="spam"),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(fields=["is_spam", "-created_at"], name="guestbook_visible"),
        ),
    ]
