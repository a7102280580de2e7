-- @query   handoffs.copy_sizes
-- @answers In what sizes do the peer copies of each hand-off go, and which sizes take the time?
-- @param   request INTEGER = NULL  only this request
-- @column  request INTEGER  `requests.request`
-- @column  stage_id INTEGER  sending stage
-- @column  class_bytes BIGINT  size class: its smallest size; the next class, four times as large, begins where it ends
-- @column  copies BIGINT  copies
-- @column  bytes BIGINT  their bytes
-- @column  total_ns BIGINT  their time, counted twice where they overlap
-- @column  gb_per_s DOUBLE  rate within a copy, without the gaps between copies
-- @reads   handoffs, memcpys
-- @schema  >=1
-- Who posted the transfers copied: of a pull the reader. A copy belongs to the hand-offs of its process in whose copy span it starts; two spans that overlap share theirs.
WITH windows AS (
  SELECT
    h.request,
    h.stage_id,
    h.copy_process_id AS process_id,
    h.peer_device_id,
    h.copy_start_ns AS from_ns,
    h.copy_start_ns + h.copy_span_ns AS to_ns
  FROM handoffs AS h
  WHERE h.copies > 0 AND ($request IS NULL OR h.request = $request)
),
sized AS (
  SELECT
    w.request,
    w.stage_id,
    CASE
      WHEN m.bytes < 4096 THEN 0
      WHEN m.bytes < 16384 THEN 4096
      WHEN m.bytes < 65536 THEN 16384
      WHEN m.bytes < 262144 THEN 65536
      WHEN m.bytes < 1048576 THEN 262144
      WHEN m.bytes < 4194304 THEN 1048576
      WHEN m.bytes < 16777216 THEN 4194304
      WHEN m.bytes < 67108864 THEN 16777216
      WHEN m.bytes < 268435456 THEN 67108864
      ELSE 268435456
    END AS class_bytes,
    m.bytes,
    m.dur_ns
  FROM memcpys AS m
  JOIN windows AS w ON m.process_id = w.process_id AND m.start_ns >= w.from_ns AND m.start_ns < w.to_ns
    AND (w.peer_device_id IS NULL OR m.dst_device_id = w.peer_device_id)
  WHERE m.kind = 'PtoP'
)
SELECT
  request,
  stage_id,
  class_bytes,
  count(*) AS copies,
  sum(bytes) AS bytes,
  sum(dur_ns) AS total_ns,
  CAST(sum(bytes) AS DOUBLE) / nullif(sum(dur_ns), 0) AS gb_per_s
FROM sized
GROUP BY request, stage_id, class_bytes
ORDER BY request, stage_id, class_bytes;
