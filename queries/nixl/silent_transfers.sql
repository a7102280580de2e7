-- @query   nixl.silent_transfers
-- @answers Which transfers carry no notification, by their two ends and the memory that they move?
-- @column  process_id BIGINT  process that posted them
-- @column  agent TEXT  its agent
-- @column  peer TEXT  the other end
-- @column  op TEXT  `WRITE` or `READ`
-- @column  local_memory TEXT  memory of the poster's side
-- @column  remote_memory TEXT  memory of the peer's side
-- @column  transfers BIGINT  transfers without a text
-- @column  with_text BIGINT  those of the same ends and memory that have one
-- @column  bytes BIGINT  payload of those without
-- @reads   nixl_transfers
-- @schema  >=1
SELECT
  process_id,
  agent,
  peer,
  op,
  local_memory,
  remote_memory,
  count(*) FILTER (WHERE notif IS NULL) AS transfers,
  count(*) FILTER (WHERE notif IS NOT NULL) AS with_text,
  sum(bytes) FILTER (WHERE notif IS NULL) AS bytes
FROM nixl_transfers
WHERE posted_ns IS NOT NULL
GROUP BY process_id, agent, peer, op, local_memory, remote_memory
HAVING count(*) FILTER (WHERE notif IS NULL) > 0
ORDER BY transfers DESC, process_id, peer, op;
