"""Sums of days beside those of hours, so that a page of a quarter reads few rows."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_visitors'),
        ('billing', '0004_estimated_usage'),
        ('marketplace', '0002_rules_and_search'),
    ]

    operations = [
        migrations.CreateModel(
            name='DailyUsage',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('shard', models.SmallIntegerField()),
                ('requests', models.BigIntegerField(default=0)),
                ('failed', models.BigIntegerField(default=0)),
                ('input_tokens', models.BigIntegerField(default=0)),
                ('output_tokens', models.BigIntegerField(default=0)),
                ('cached_tokens', models.BigIntegerField(default=0)),
                ('images', models.BigIntegerField(default=0)),
                ('compute_ms', models.BigIntegerField(default=0)),
                ('charge', models.BigIntegerField(default=0)),
                ('commission', models.BigIntegerField(default=0)),
                ('day', models.DateTimeField()),
                ('api_key', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.apikey')),
                ('listing', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='marketplace.listing')),
                ('organisation', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.organisation')),
                ('subscription', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='marketplace.subscription')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='marketplace.version')),
            ],
            options={
                'indexes': [models.Index(fields=['listing', 'day'], name='daily_usage_by_listing')],
                'constraints': [models.UniqueConstraint(fields=('organisation', 'day', 'subscription', 'listing', 'version', 'api_key', 'shard'), name='daily_usage_once', nulls_distinct=False)],
            },
        ),
    ]
