"""The worker process: one device, one memory budget, an engine per resident version.

`serving` composes it. Messages come in through `consuming` (a gate per version, exactly as wide as its
engine has free slots) and `running` (takes the payload, submits); answers leave through `replies`. `host`
holds the replicas, `placement` decides which to load, `registry` says what is here, `mirror` keeps the
record, `control` listens for cancellations, `draining` ends it without dropping a call.
"""
