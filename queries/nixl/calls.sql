-- @query   nixl.calls
-- @answers What do NIXL agents do beside transfers: how often, how long, and how often does it fail?
-- @column  process_id BIGINT  process
-- @column  call TEXT  function of NIXL
-- @column  status TEXT  what it returned; null where it was not seen to return
-- @column  calls BIGINT  how often
-- @column  peers BIGINT  with how many peers
-- @column  median_ns BIGINT  median time in it
-- @column  longest_ns BIGINT  longest
-- @column  sum_ns BIGINT  all together
-- @reads   nixl_calls
-- @schema  >=1
SELECT
  process_id,
  call,
  status,
  count(*) AS calls,
  count(DISTINCT peer) AS peers,
  CAST(approx_median(end_ns - start_ns) AS BIGINT) AS median_ns,
  max(end_ns - start_ns) AS longest_ns,
  sum(end_ns - start_ns) AS sum_ns
FROM nixl_calls
GROUP BY process_id, call, status
ORDER BY sum_ns DESC NULLS FIRST, process_id, call, status;
