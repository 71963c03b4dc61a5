"""One machine's processes in one terminal: started, labelled, restarted and stopped in order.

Production runs each process as a container of its own and needs none of this.
"""
