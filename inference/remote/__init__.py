"""HTTP/1.1 to providers' own servers: checked addresses, kept connections, bounded everything, a circuit each.

`dialling` reaches a server, `connection` speaks with it, `exchange` is one question and its answer, `upstream`
decides who may ask, `room` is the memory that long answers share, `texts` reads a message, `trial` tries a new version. Nothing here knows what a call costs.
"""
