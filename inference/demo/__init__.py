"""The demo world: real models, trained and published through the same doors as anyone's, and real calls.

`building` goes through the steps in order; each looks first at what is there already, so that a second run
goes on where a first one stopped and a third one finds nothing to do.
"""
