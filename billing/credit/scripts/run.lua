-- The server's own word for which run of it this is. Asked inside the script, because neither a client's
-- memory nor a loaded script tells: before Redis 7 loaded scripts come back with the append-only file.
if redis.replicate_commands then redis.replicate_commands() end
local RUN = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
