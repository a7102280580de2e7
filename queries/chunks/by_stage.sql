-- @query   chunks.by_stage
-- @answers For each chunk of a request, how long did each stage compute, talk to its peers, and idle?
-- @param   request INTEGER = NULL  only this request
-- @column  request INTEGER  `requests.request`
-- @column  chunk INTEGER  `chunks.chunk`
-- @column  stage_id INTEGER  `stages.stage_id`
-- @column  start_ns BIGINT  first kernel
-- @column  dur_ns BIGINT  from first to last kernel
-- @column  compute_ns BIGINT  at least one compute kernel ran
-- @column  p2p_exposed_ns BIGINT  communication kernels without compute beside them
-- @column  idle_ns BIGINT  no kernel ran
-- @column  growth DOUBLE  `compute_ns` against that of the stage's previous chunk: attention grows with the context
-- @column  layers INTEGER  layers found
-- @reads   chunks
-- @schema  >=1
SELECT
  request,
  chunk,
  stage_id,
  start_ns,
  dur_ns,
  compute_ns,
  p2p_exposed_ns,
  idle_ns,
  CAST(compute_ns AS DOUBLE)
    / nullif(lag(compute_ns) OVER (PARTITION BY request, stage_id ORDER BY chunk), 0) AS growth,
  layers
FROM chunks
WHERE $request IS NULL OR request = $request
ORDER BY request, chunk, stage_id;
