-- @query   timeline.api_calls
-- @answers In which recorded CUDA calls do host threads spend their time?
-- @param   rows BIGINT = 30  most rows to print
-- @column  process_id BIGINT  `processes.process_id`
-- @column  name TEXT  function
-- @column  calls BIGINT  calls
-- @column  total_ns BIGINT  time in them
-- @column  median_ns BIGINT  median of one (approximate)
-- @column  max_ns BIGINT  longest
-- @reads   api_calls
-- @schema  >=1
SELECT
  process_id,
  name,
  count(*) AS calls,
  sum(dur_ns) AS total_ns,
  CAST(approx_median(dur_ns) AS BIGINT) AS median_ns,
  max(dur_ns) AS max_ns
FROM api_calls
GROUP BY process_id, name
ORDER BY total_ns DESC, process_id, name
LIMIT $rows;
