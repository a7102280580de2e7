-- @query   layers.slowest
-- @answers Which layers stand out against the same layer's usual time?
-- @param   rows BIGINT = 20  most rows to print
-- @column  request INTEGER  `requests.request`
-- @column  stage_id INTEGER  `stages.stage_id`
-- @column  chunk INTEGER  `chunks.chunk`
-- @column  layer INTEGER  layer within the stage
-- @column  start_ns BIGINT  first kernel
-- @column  dur_ns BIGINT  `layers.dur_ns`
-- @column  chunk_median_ns BIGINT  median layer of the same chunk and stage (approximate)
-- @column  excess_ns BIGINT  time above that median
-- @column  idle_ns BIGINT  of `dur_ns`, without a compute kernel of this layer
-- @column  confidence DOUBLE  `layers.confidence`
-- @reads   layers
-- @schema  >=1
WITH usual AS (
  SELECT request, stage_id, chunk, CAST(approx_median(dur_ns) AS BIGINT) AS chunk_median_ns
  FROM layers
  GROUP BY request, stage_id, chunk
)
SELECT
  l.request,
  l.stage_id,
  l.chunk,
  l.layer,
  l.start_ns,
  l.dur_ns,
  u.chunk_median_ns,
  l.dur_ns - u.chunk_median_ns AS excess_ns,
  l.dur_ns - l.compute_ns AS idle_ns,
  l.confidence
FROM layers AS l
JOIN usual AS u ON u.request = l.request AND u.stage_id = l.stage_id AND u.chunk = l.chunk
ORDER BY excess_ns DESC, l.request, l.stage_id, l.chunk, l.layer
LIMIT $rows;
