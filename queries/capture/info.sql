-- @query   capture.info
-- @answers How was this recorded: versions, probes on and off and why, clock, settings?
-- @column  source TEXT  source that says it
-- @column  key TEXT  what
-- @column  value TEXT  value
-- @reads   capture_info
-- @schema  >=1
SELECT source, key, value
FROM capture_info
ORDER BY source, key, value;
