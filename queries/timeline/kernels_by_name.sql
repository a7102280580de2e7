-- @query   timeline.kernels_by_name
-- @answers Which kernels take the GPU's time?
-- @param   process_id BIGINT = NULL  only kernels of this process
-- @param   rows BIGINT = 30  most rows to print
-- @column  name TEXT  function name
-- @column  kernels BIGINT  executions
-- @column  total_ns BIGINT  their time together
-- @column  share DOUBLE  of the time of all kernels chosen, 0 to 1
-- @column  median_ns BIGINT  median time of one (approximate)
-- @column  max_ns BIGINT  longest
-- @reads   kernels
-- @schema  >=1
SELECT
  name,
  count(*) AS kernels,
  sum(dur_ns) AS total_ns,
  CAST(sum(dur_ns) AS DOUBLE) / sum(sum(dur_ns)) OVER () AS share,
  CAST(approx_median(dur_ns) AS BIGINT) AS median_ns,
  max(dur_ns) AS max_ns
FROM kernels
WHERE $process_id IS NULL OR process_id = $process_id
GROUP BY name
ORDER BY total_ns DESC, name
LIMIT $rows;
