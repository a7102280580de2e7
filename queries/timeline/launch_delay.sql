-- @query   timeline.launch_delay
-- @answers How long after its launch does a kernel start, by process: is the host ahead of the GPU?
-- @column  process_id BIGINT  `processes.process_id`
-- @column  kernels BIGINT  kernels whose launch was recorded
-- @column  median_delay_ns BIGINT  median from entry of the launch to start on the GPU (approximate); near zero means the GPU waits for the host
-- @column  p99_delay_ns BIGINT  99th percentile of it (approximate)
-- @column  median_launch_ns BIGINT  median time in the launch call (approximate)
-- @reads   api_calls, kernels
-- @schema  >=1
SELECT
  k.process_id,
  count(*) AS kernels,
  CAST(approx_median(k.start_ns - a.start_ns) AS BIGINT) AS median_delay_ns,
  CAST(approx_percentile_cont(k.start_ns - a.start_ns, 0.99) AS BIGINT) AS p99_delay_ns,
  CAST(approx_median(a.dur_ns) AS BIGINT) AS median_launch_ns
FROM kernels AS k
JOIN api_calls AS a ON a.process_id = k.process_id AND a.correlation_id = k.correlation_id
-- 0 is an unknown correlation.
WHERE k.correlation_id <> 0
GROUP BY k.process_id
ORDER BY k.process_id;
