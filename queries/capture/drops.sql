-- @query   capture.drops
-- @answers Which records were lost, by whom and why? No row means none.
-- @column  source TEXT  source that lost them
-- @column  table_name TEXT  table that lacks them; null if several or unknown
-- @column  reason TEXT  why
-- @column  process_id BIGINT  process, if known
-- @column  records BIGINT  how many
-- @column  first_ns BIGINT  when a loss was first counted
-- @column  last_ns BIGINT  when it was last counted
-- @reads   drops
-- @schema  >=1
SELECT
  source,
  table_name,
  reason,
  process_id,
  sum("count") AS records,
  min(time_ns) AS first_ns,
  max(time_ns) AS last_ns
FROM drops
GROUP BY source, table_name, reason, process_id
ORDER BY records DESC, source, table_name, reason, process_id;
