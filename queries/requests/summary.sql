-- @query   requests.summary
-- @answers Which requests does the run hold, and how long did each take?
-- @column  request INTEGER  number in order of start
-- @column  request_id TEXT  id by the serving engine, if known
-- @column  start_ns BIGINT  first activity
-- @column  chunks INTEGER  prefill chunks on the first stage
-- @column  prefill_ns BIGINT  from start to the end of the last chunk
-- @column  handoff_ns BIGINT  from the first make, post or copy to the last hand-off's end
-- @column  handoff_exposed_ns BIGINT  what of that comes after prefill
-- @column  handoff_bytes BIGINT  KV bytes handed off
-- @column  handoffs INTEGER  stages whose hand-off was seen
-- @column  incomplete BOOLEAN  part of it is not in the recording
-- @reads   requests
-- @schema  >=1
SELECT
  request,
  request_id,
  start_ns,
  chunks,
  prefill_ns,
  handoff_ns,
  handoff_exposed_ns,
  handoff_bytes,
  handoffs,
  incomplete
FROM requests
ORDER BY request;
