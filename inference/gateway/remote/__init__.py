"""Calls of remote versions: relayed by the web process itself, under the same admission and settlement.

`asking` writes the upstream's request and bounds what it can use, `answers` reads what comes back (`logprobs` and
`vectors` parts of it) within `limits`, `counting` says what is billed, `running` carries a call through, `refusing` words what goes wrong for its caller.
"""
