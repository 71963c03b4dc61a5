"""The web server: uvicorn, with limits of time and number that it has not by itself.

`python -m portal.server` runs it. uvicorn waits for ever for the rest of a request, takes heads of any size and any
number of connections: a thousand half-open ones would leave no descriptor for anybody else.
"""
