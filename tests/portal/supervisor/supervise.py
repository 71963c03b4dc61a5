"""Supervise the programs given as JSON in the first argument, as `make up` does."""

import json
import os
import sys
from pathlib import Path

from portal.supervisor.processes import Program
from portal.supervisor.supervising import Supervisor

programs = [Program(**facts) for facts in json.loads(sys.argv[1])]
Supervisor(programs, environment=os.environ, directory=Path.cwd()).run()
