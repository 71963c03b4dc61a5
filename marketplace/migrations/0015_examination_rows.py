"""The line of what is to be examined."""

import django.db.models.deletion
import portal.kit.clock
import portal.kit.ids
from django.conf import settings
from django.db import migrations, models

# Those that the release before was about to try.
WAITING = """
INSERT INTO marketplace_examination (id, organisation_id, version_id, stage, step, done_bytes, total_bytes, attempts,
                                     queued_at)
SELECT gen_random_uuid(), listing.organisation_id, version.id, 'trial', 'waiting', 0, 0, 0, version.created_at
FROM marketplace_version version JOIN marketplace_listing listing ON listing.id = version.listing_id
WHERE version.state = 'checking';
"""


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_limits_of_keys_and_organisations'),
        ('marketplace', '0014_examinations'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='EndpointTrial',
            fields=[
                ('id', models.UUIDField(default=portal.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(default=portal.kit.clock.now, editable=False)),
                ('base_url', models.CharField(max_length=300)),
                ('model', models.CharField(max_length=200)),
                ('sealed_key', models.TextField(blank=True)),
                ('seen', models.JSONField(blank=True, help_text='{"ok", "message", "shown", "counts"}, once it was made.', null=True)),
                ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('listing', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='endpoint_trials', to='marketplace.listing')),
            ],
        ),
        migrations.CreateModel(
            name='Examination',
            fields=[
                ('id', models.UUIDField(default=portal.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('stage', models.CharField(choices=[('files', 'Files'), ('trial', 'Trial')], max_length=8)),
                ('step', models.CharField(choices=[('waiting', 'Waiting'), ('verifying', 'Verifying'), ('reading', 'Reading'), ('trying', 'Trying')], default='waiting', max_length=16)),
                ('done_bytes', models.BigIntegerField(default=0)),
                ('total_bytes', models.BigIntegerField(default=0)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('queued_at', models.DateTimeField(default=portal.kit.clock.now)),
                ('begun_at', models.DateTimeField(blank=True, null=True)),
                ('held_by', models.UUIDField(blank=True, null=True)),
                ('held_until', models.DateTimeField(blank=True, null=True)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('endpoint', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='examination', to='marketplace.endpointtrial')),
                ('organisation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organisation')),
                ('version', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='examination', to='marketplace.version')),
            ],
            options={
                'indexes': [models.Index(fields=['organisation', '-begun_at'], name='examination_turns'), models.Index(condition=models.Q(('ended_at', None)), fields=['queued_at'], name='examination_open')],
                'constraints': [models.CheckConstraint(condition=models.Q(('version', None), ('endpoint', None), _connector='XOR'), name='examination_of_one_thing')],
            },
        ),
        migrations.RunSQL(WAITING, migrations.RunSQL.noop),
    ]
