"""The data plane's HTTP door under /v1: OpenAI's shapes outside, queues and reply streams inside.

A call's way through the modules: `schemas` parse it, `identify` finds who calls which version on which
plan, `prompting` makes token ids, `calls` admits and dispatches it, `relay` brings back what the worker
writes, `responses` shapes it, and `errors` words every refusal.
"""
