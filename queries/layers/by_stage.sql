-- @query   layers.by_stage
-- @answers Are the layers divided evenly: how many does each stage run, and how long does one take?
-- @column  stage_id INTEGER  `stages.stage_id`
-- @column  name TEXT  process title
-- @column  layers INTEGER  layers a forward pass
-- @column  layers_method TEXT  how that was found
-- @column  layers_confidence DOUBLE  share of the forward passes that agree, 0 to 1
-- @column  seen BIGINT  layer executions found
-- @column  median_ns BIGINT  median of one (approximate)
-- @column  p95_ns BIGINT  95th percentile (approximate)
-- @column  pass_ns BIGINT  `layers` times `median_ns`: a forward pass of median layers
-- @reads   layers, stages
-- @schema  >=1
WITH timed AS (
  SELECT
    stage_id,
    count(*) AS seen,
    CAST(approx_median(dur_ns) AS BIGINT) AS median_ns,
    CAST(approx_percentile_cont(dur_ns, 0.95) AS BIGINT) AS p95_ns
  FROM layers
  GROUP BY stage_id
)
SELECT
  s.stage_id,
  s.name,
  s.layers,
  s.layers_method,
  s.layers_confidence,
  coalesce(t.seen, 0) AS seen,
  t.median_ns,
  t.p95_ns,
  s.layers * t.median_ns AS pass_ns
FROM stages AS s
LEFT JOIN timed AS t ON t.stage_id = s.stage_id
ORDER BY s.stage_id;
