-- @query   timeline.copies_by_kind
-- @answers What do the GPUs copy, in which direction, and how fast is a copy?
-- @column  process_id BIGINT  `processes.process_id`
-- @column  kind TEXT  `memcpys.kind`
-- @column  src_device_id INTEGER  source device of peer copies
-- @column  dst_device_id INTEGER  destination device of peer copies
-- @column  copies BIGINT  copies
-- @column  bytes BIGINT  bytes
-- @column  total_ns BIGINT  time of all copies, counted twice where they overlap
-- @column  median_bytes BIGINT  median size (approximate)
-- @column  gb_per_s DOUBLE  bytes over their own time: the rate within a copy, without the gaps between copies
-- @reads   memcpys
-- @schema  >=1
SELECT
  process_id,
  kind,
  src_device_id,
  dst_device_id,
  count(*) AS copies,
  sum(bytes) AS bytes,
  sum(dur_ns) AS total_ns,
  CAST(approx_median(bytes) AS BIGINT) AS median_bytes,
  CAST(sum(bytes) AS DOUBLE) / nullif(sum(dur_ns), 0) AS gb_per_s
FROM memcpys
GROUP BY process_id, kind, src_device_id, dst_device_id
ORDER BY bytes DESC, process_id, kind, src_device_id, dst_device_id;
