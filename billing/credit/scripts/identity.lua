-- The run of the server, as this script's loader read it.
return RUN
