-- @query   nixl.failures
-- @answers What did NIXL refuse or fail at: transfers, makes, releases, and calls that set peers and memory up?
-- @column  process_id BIGINT  process
-- @column  agent TEXT  its agent
-- @column  peer TEXT  the other end, where the call names it
-- @column  what TEXT  function of NIXL, or `transfer`: its post or a poll returned the error
-- @column  status TEXT  NIXL's error
-- @column  failures BIGINT  how often
-- @column  first_ns BIGINT  when it was called first
-- @column  last_ns BIGINT  and last
-- @reads   nixl_calls, nixl_transfers
-- @schema  >=1
WITH failed AS (
  SELECT process_id, agent, peer, 'transfer' AS what, status, posted_ns AS at_ns
  FROM nixl_transfers
  WHERE status NOT IN ('done', 'pending', 'not_posted')
  UNION ALL
  SELECT process_id, agent, peer, call AS what, status, start_ns AS at_ns
  FROM nixl_calls
  WHERE starts_with(status, 'NIXL_ERR')
)
SELECT
  process_id,
  agent,
  peer,
  what,
  status,
  count(*) AS failures,
  min(at_ns) AS first_ns,
  max(at_ns) AS last_ns
FROM failed
GROUP BY process_id, agent, peer, what, status
ORDER BY first_ns, process_id, what;
