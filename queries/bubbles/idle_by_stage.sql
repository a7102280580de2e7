-- @query   bubbles.idle_by_stage
-- @answers Where in a request's prefill does each stage stand idle: before its first chunk, within chunks, between them, or after its last?
-- @param   request INTEGER = NULL  only this request
-- @column  request INTEGER  `requests.request`
-- @column  stage_id INTEGER  `stages.stage_id`
-- @column  window_ns BIGINT  prefill of the request over all stages
-- @column  compute_ns BIGINT  at least one compute kernel ran
-- @column  before_ns BIGINT  from the request's start to this stage's first chunk (fill)
-- @column  within_ns BIGINT  no compute kernel ran within a chunk: P2P waits and gaps
-- @column  between_ns BIGINT  between chunks
-- @column  after_ns BIGINT  from this stage's last chunk to the end of prefill (drain)
-- @column  idle_share DOUBLE  the four of `window_ns`, 0 to 1
-- @reads   chunks, requests
-- @schema  >=1
WITH per_stage AS (
  SELECT
    request,
    stage_id,
    min(start_ns) AS first_ns,
    max(start_ns + dur_ns) AS last_ns,
    sum(dur_ns) AS chunk_ns,
    sum(compute_ns) AS compute_ns
  FROM chunks
  WHERE $request IS NULL OR request = $request
  GROUP BY request, stage_id
)
SELECT
  p.request,
  p.stage_id,
  r.prefill_ns AS window_ns,
  p.compute_ns,
  p.first_ns - r.start_ns AS before_ns,
  p.chunk_ns - p.compute_ns AS within_ns,
  p.last_ns - p.first_ns - p.chunk_ns AS between_ns,
  r.prefill_end_ns - p.last_ns AS after_ns,
  1 - CAST(p.compute_ns AS DOUBLE) / nullif(r.prefill_ns, 0) AS idle_share
FROM per_stage AS p
JOIN requests AS r ON r.request = p.request
ORDER BY p.request, p.stage_id;
